# The images of a cluster: liteio (all its services), nats and balancer, from one base.
#
#   docker build --target liteio -t liteio .
#
# BASE is any Debian 12 or newer, or what is built on it; packages that it has already are not fetched. Where containers
# reach no package index, put wheels of requirements/{runtime,build}.txt into .wheels/ before (`make wheels`). A pip.conf
# for an index of your own goes in as a secret, of which no image keeps a trace: --secret id=pip.conf,src=pip.conf
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS python
RUN command -v python3 >/dev/null || { \
        apt-get update && apt-get install -y --no-install-recommends python3 ca-certificates && rm -rf /var/lib/apt/lists/*; }

# What the members import, checked against the pinned hashes. Two packages are source only and are compiled here.
FROM python AS libraries
RUN python3 -c 'import ensurepip, venv' 2>/dev/null || { apt-get update && apt-get install -y --no-install-recommends python3-venv; }
COPY requirements/runtime.txt requirements/build.txt .wheels* /wheels/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf set -eu; \
    python3 -m venv /opt/build; \
    if ! ls /wheels/*.whl >/dev/null 2>&1; then \
        apt-get update; apt-get install -y --no-install-recommends gcc libc6-dev python3-dev; \
        /opt/build/bin/pip wheel --use-pep517 --require-hashes -w /wheels -r /wheels/runtime.txt -r /wheels/build.txt; \
    fi; \
    python3 -m venv --without-pip /opt/liteio; \
    pins() { sed -n 's/^\([^ #].*[^ \\]\) *\\*$/\1/p' "/wheels/$1.txt" >"/wheels/$1.pins"; echo "/wheels/$1.pins"; }; \
    /opt/build/bin/pip install --no-index --find-links /wheels --no-deps -r "$(pins build)"; \
    /opt/build/bin/pip --python /opt/liteio/bin/python install --no-index --find-links /wheels --no-deps -r "$(pins runtime)"

# The members themselves: a layer of their own, so that a change in them leaves the big one as it was.
FROM libraries AS members
COPY libs /src/libs
COPY services /src/services
RUN set -eu; \
    /opt/build/bin/pip wheel --no-index --no-deps --no-build-isolation -w /members /src/libs/*/ /src/services/*/; \
    /opt/build/bin/pip --python /opt/liteio/bin/python install --no-index --no-deps --prefix /opt/members /members/*.whl

FROM python AS runtime
RUN groupadd --gid 10001 liteio && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent liteio
USER 10001:10001
WORKDIR /

# JetStream, the bus: the server of the wheel that liteio's own one-machine bus is.
FROM runtime AS nats
COPY --from=libraries /opt/liteio/bin/nats-server /usr/local/bin/nats-server
COPY deploy/compose/nats.conf /etc/nats/nats.conf
USER 0
RUN install -d -o 10001 -g 10001 /data /etc/nats/bus
USER 10001:10001
CMD ["nats-server", "--config", "/etc/nats/nats.conf"]

# What stands in front of the gateways.
FROM ${BASE} AS balancer
RUN command -v haproxy >/dev/null || { \
        apt-get update && apt-get install -y --no-install-recommends haproxy && rm -rf /var/lib/apt/lists/*; }
COPY deploy/compose/haproxy.cfg /etc/haproxy/haproxy.cfg
USER 10001:10001
# Lets requests in flight end; SIGTERM would cut them.
STOPSIGNAL SIGUSR1
CMD ["haproxy", "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg"]

# Last, so that it is what is built when no target is named.
FROM runtime AS liteio
ENV PATH=/opt/liteio/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 MALLOC_ARENA_MAX=2
COPY --from=libraries /opt/liteio /opt/liteio
COPY --from=members /opt/members /opt/liteio
COPY --chmod=755 deploy/compose/first-start.sh /usr/local/bin/liteio-first-start
USER 0
# Volumes that are mounted here take over the owner.
RUN install -d -o 10001 -g 10001 /data /data/d1 /data/d2 /secrets /authority /bus
USER 10001:10001
CMD ["liteio", "--help"]
