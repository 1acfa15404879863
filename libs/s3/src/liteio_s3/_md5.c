/* MD5 of several streams at once. `MD5()` is a running sum in the manner of hashlib; `update_all_avx2([(md5, data), ...])`
 * and, where the processor has AVX-512VL, `update_all_avx512vl` give each of several its next bytes.
 *
 * RFC 1321. Each of its steps waits for the one before, so that one stream leaves most of a processor idle. Here eight
 * streams lie in the eight 32-bit lanes of vectors: as many steps at a time, at the price of two to three. Streams of
 * different lengths go on together for as long as the shortest of them has blocks. What is left, and a stream alone, is
 * hashed without vectors, as quickly as by hashlib. The interpreter's lock is free meanwhile. Held against hashlib by
 * tests/test_md5.py; figures: docs/adr/0014-md5-of-several-bodies-at-once.md.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The order in which a step adds is chosen so that what the step before brings is added last. */
#pragma GCC optimize("no-tree-reassoc")

#define INLINE static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 8")
#define BLOCK_BYTES 64
#define DIGEST_BYTES 16
#define LENGTH_BYTES 8 /* of the message, in bits, at its end */
#define WORDS 16       /* of 32 bits in a block */
#define LANES 8
#define TOGETHER_MIN 3          /* fewer streams are quicker one after the other */
#define LOCKED_BYTES_MAX 2047 /* giving the lock away costs more than hashing so little, as hashlib has it */

typedef uint32_t Vector __attribute__((vector_size(4 * LANES)));

typedef struct {
    PyObject_HEAD
    uint32_t state[4];
    uint64_t length;           /* bytes so far */
    uint8_t rest[BLOCK_BYTES]; /* those that fill no block yet, `length % BLOCK_BYTES` of them */
    bool is_busy;              /* in a call that has let go of the lock */
} MD5;

/* Whole blocks that one stream is to be advanced by. */
typedef struct {
    uint32_t *state;
    const uint8_t *data;
    size_t blocks;
} Run;

typedef struct {
    MD5 *md5;
    Py_buffer view;
} Update;

typedef void (*Kernel)(Vector *state, const uint8_t *const *data, size_t blocks);

/* The functions of the four rounds: `x` is what the step before brings, the part without it is computed ahead. */
#define F(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
#define F_AHEAD(y, z) 0
#define G(x, y, z) ((x) & (z))
#define G_AHEAD(y, z) ((y) & ~(z))
#define H(x, y, z) ((x) ^ ((y) ^ (z)))
#define H_AHEAD(y, z) 0
#define I(x, y, z) ((y) ^ ((x) | ~(z)))
#define I_AHEAD(y, z) 0

#define TURNED(x, count) ((x) << (count) | (x) >> (32 - (count)))
#define STEP(f, a, b, c, d, word, sine, count) \
    a += (word) + (sine) + f##_AHEAD(c, d);    \
    a += f(b, c, d);                           \
    a = TURNED(a, count) + (b)
#define FOUR_STEPS(f, k0, k1, k2, k3, s0, s1, s2, s3, t0, t1, t2, t3) \
    STEP(f, a, b, c, d, words[k0], t0, s0);                           \
    STEP(f, d, a, b, c, words[k1], t1, s1);                           \
    STEP(f, c, d, a, b, words[k2], t2, s2);                           \
    STEP(f, b, c, d, a, words[k3], t3, s3)
/* All 64, over `a`, `b`, `c`, `d` and the block's `words`: numbers of one stream or vectors of several. */
#define ALL_STEPS                                                                                         \
    FOUR_STEPS(F, 0, 1, 2, 3, 7, 12, 17, 22, 0xd76aa478u, 0xe8c7b756u, 0x242070dbu, 0xc1bdceeeu);     \
    FOUR_STEPS(F, 4, 5, 6, 7, 7, 12, 17, 22, 0xf57c0fafu, 0x4787c62au, 0xa8304613u, 0xfd469501u);     \
    FOUR_STEPS(F, 8, 9, 10, 11, 7, 12, 17, 22, 0x698098d8u, 0x8b44f7afu, 0xffff5bb1u, 0x895cd7beu);   \
    FOUR_STEPS(F, 12, 13, 14, 15, 7, 12, 17, 22, 0x6b901122u, 0xfd987193u, 0xa679438eu, 0x49b40821u); \
    FOUR_STEPS(G, 1, 6, 11, 0, 5, 9, 14, 20, 0xf61e2562u, 0xc040b340u, 0x265e5a51u, 0xe9b6c7aau);     \
    FOUR_STEPS(G, 5, 10, 15, 4, 5, 9, 14, 20, 0xd62f105du, 0x02441453u, 0xd8a1e681u, 0xe7d3fbc8u);    \
    FOUR_STEPS(G, 9, 14, 3, 8, 5, 9, 14, 20, 0x21e1cde6u, 0xc33707d6u, 0xf4d50d87u, 0x455a14edu);     \
    FOUR_STEPS(G, 13, 2, 7, 12, 5, 9, 14, 20, 0xa9e3e905u, 0xfcefa3f8u, 0x676f02d9u, 0x8d2a4c8au);    \
    FOUR_STEPS(H, 5, 8, 11, 14, 4, 11, 16, 23, 0xfffa3942u, 0x8771f681u, 0x6d9d6122u, 0xfde5380cu);   \
    FOUR_STEPS(H, 1, 4, 7, 10, 4, 11, 16, 23, 0xa4beea44u, 0x4bdecfa9u, 0xf6bb4b60u, 0xbebfbc70u);    \
    FOUR_STEPS(H, 13, 0, 3, 6, 4, 11, 16, 23, 0x289b7ec6u, 0xeaa127fau, 0xd4ef3085u, 0x04881d05u);    \
    FOUR_STEPS(H, 9, 12, 15, 2, 4, 11, 16, 23, 0xd9d4d039u, 0xe6db99e5u, 0x1fa27cf8u, 0xc4ac5665u);   \
    FOUR_STEPS(I, 0, 7, 14, 5, 6, 10, 15, 21, 0xf4292244u, 0x432aff97u, 0xab9423a7u, 0xfc93a039u);    \
    FOUR_STEPS(I, 12, 3, 10, 1, 6, 10, 15, 21, 0x655b59c3u, 0x8f0ccc92u, 0xffeff47du, 0x85845dd1u);   \
    FOUR_STEPS(I, 8, 15, 6, 13, 6, 10, 15, 21, 0x6fa87e4fu, 0xfe2ce6e0u, 0xa3014314u, 0x4e0811a1u);   \
    FOUR_STEPS(I, 4, 11, 2, 9, 6, 10, 15, 21, 0xf7537e82u, 0xbd3af235u, 0x2ad7d2bbu, 0xeb86d391u)

static void run_alone(uint32_t *state, const uint8_t *data, size_t blocks) {
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    for (; blocks; blocks--, data += BLOCK_BYTES) {
        const uint32_t a0 = a, b0 = b, c0 = c, d0 = d;
        uint32_t words[WORDS];
        memcpy(words, data, BLOCK_BYTES);
        ALL_STEPS;
        a += a0, b += b0, c += c0, d += d0;
    }
    state[0] = a, state[1] = b, state[2] = c, state[3] = d;
}

/* Eight words of each of eight streams become eight vectors, each with one word of every stream. */
INLINE void transpose(Vector *words, const uint8_t *const *data, size_t offset) {
    Vector rows[LANES], pairs[LANES], fours[LANES];
    UNROLLED for (int lane = 0; lane < LANES; lane++) memcpy(&rows[lane], data[lane] + offset, sizeof(Vector));
    UNROLLED for (int lane = 0; lane < LANES; lane += 2) {
        pairs[lane] = __builtin_shuffle(rows[lane], rows[lane + 1], (Vector){0, 8, 1, 9, 4, 12, 5, 13});
        pairs[lane + 1] = __builtin_shuffle(rows[lane], rows[lane + 1], (Vector){2, 10, 3, 11, 6, 14, 7, 15});
    }
    UNROLLED for (int lane = 0; lane < LANES; lane += 4) {
        UNROLLED for (int odd = 0; odd < 2; odd++) {
            const Vector low = pairs[lane + odd], high = pairs[lane + odd + 2];
            fours[lane + 2 * odd] = __builtin_shuffle(low, high, (Vector){0, 1, 8, 9, 4, 5, 12, 13});
            fours[lane + 2 * odd + 1] = __builtin_shuffle(low, high, (Vector){2, 3, 10, 11, 6, 7, 14, 15});
        }
    }
    UNROLLED for (int word = 0; word < LANES / 2; word++) {
        words[word] = __builtin_shuffle(fours[word], fours[word + 4], (Vector){0, 1, 2, 3, 8, 9, 10, 11});
        words[word + 4] = __builtin_shuffle(fours[word], fours[word + 4], (Vector){4, 5, 6, 7, 12, 13, 14, 15});
    }
}

INLINE void run_lanes(Vector *state, const uint8_t *const *data, size_t blocks) {
    Vector a = state[0], b = state[1], c = state[2], d = state[3];
    for (size_t offset = 0; offset < blocks * BLOCK_BYTES; offset += BLOCK_BYTES) {
        const Vector a0 = a, b0 = b, c0 = c, d0 = d;
        Vector words[WORDS];
        transpose(words, data, offset);
        transpose(words + WORDS / 2, data, offset + BLOCK_BYTES / 2);
        ALL_STEPS;
        a += a0, b += b0, c += c0, d += d0;
    }
    state[0] = a, state[1] = b, state[2] = c, state[3] = d;
}

/* One kernel, compiled twice: AVX-512VL has one instruction for a turn and one for any function of three words. */
__attribute__((target("avx2"))) static void run_avx2(Vector *state, const uint8_t *const *data, size_t blocks) {
    run_lanes(state, data, blocks);
}

__attribute__((target("avx512f,avx512vl"))) static void run_avx512vl(Vector *state, const uint8_t *const *data,
                                                                       size_t blocks) {
    run_lanes(state, data, blocks);
}

/* Those with blocks left move to the front; their number. */
static size_t unfinished(Run *runs, size_t count) {
    size_t left = 0;
    for (size_t index = 0; index < count; index++)
        if (runs[index].blocks) runs[left++] = runs[index];
    return left;
}

/* The first streams, at most eight, by as many blocks as the shortest of them has. A lane too many repeats the first. */
static void run_first(Run *runs, size_t count, Kernel kernel) {
    const size_t lanes = count < LANES ? count : LANES;
    size_t blocks = SIZE_MAX;
    const uint8_t *data[LANES];
    union {
        Vector vectors[4];
        uint32_t words[4][LANES];
    } state;
    for (size_t lane = 0; lane < LANES; lane++) {
        const Run *run = &runs[lane < lanes ? lane : 0];
        if (run->blocks < blocks) blocks = run->blocks;
        data[lane] = run->data;
        for (int word = 0; word < 4; word++) state.words[word][lane] = run->state[word];
    }
    kernel(state.vectors, data, blocks);
    for (size_t lane = 0; lane < lanes; lane++) {
        for (int word = 0; word < 4; word++) runs[lane].state[word] = state.words[word][lane];
        runs[lane].data += blocks * BLOCK_BYTES;
        runs[lane].blocks -= blocks;
    }
}

static void run_all(Run *runs, size_t count, Kernel kernel) {
    while ((count = unfinished(runs, count)) >= TOGETHER_MIN) run_first(runs, count, kernel);
    for (size_t index = 0; index < count; index++) run_alone(runs[index].state, runs[index].data, runs[index].blocks);
}

/* Fills up the block that was begun, keeps what begins one, and tells which whole blocks lie between. */
static Run take(MD5 *md5, const uint8_t *data, size_t size) {
    const size_t held = md5->length % BLOCK_BYTES;
    md5->length += size;
    if (held) {
        const size_t filling = BLOCK_BYTES - held < size ? BLOCK_BYTES - held : size;
        memcpy(md5->rest + held, data, filling);
        data += filling, size -= filling;
        if (held + filling < BLOCK_BYTES) return (Run){md5->state, data, 0};
        run_alone(md5->state, md5->rest, 1);
    }
    memcpy(md5->rest, data + size / BLOCK_BYTES * BLOCK_BYTES, size % BLOCK_BYTES);
    return (Run){md5->state, data, size / BLOCK_BYTES};
}

static void update(const Update *updates, Run *runs, size_t count, Kernel kernel) {
    for (size_t index = 0; index < count; index++)
        runs[index] = take(updates[index].md5, updates[index].view.buf, (size_t)updates[index].view.len);
    run_all(runs, count, kernel);
}

/* False, with an exception set, where it can not begin. */
static bool begin(Update *update, MD5 *md5, PyObject *data) {
    if (md5->is_busy) {
        PyErr_SetString(PyExc_ValueError, "an MD5 takes its bytes one after the other");
        return false;
    }
    if (PyObject_GetBuffer(data, &update->view, PyBUF_SIMPLE)) return false;
    update->md5 = md5;
    md5->is_busy = true;
    return true;
}

static void end(Update *update) {
    update->md5->is_busy = false;
    PyBuffer_Release(&update->view);
}

static PyObject *md5_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    if (PyTuple_GET_SIZE(args) || (kwargs && PyDict_GET_SIZE(kwargs))) {
        PyErr_SetString(PyExc_TypeError, "MD5 takes no arguments");
        return NULL;
    }
    MD5 *md5 = (MD5 *)type->tp_alloc(type, 0);
    if (md5) memcpy(md5->state, (uint32_t[]){0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}, DIGEST_BYTES);
    return (PyObject *)md5;
}

static PyObject *md5_update(PyObject *self, PyObject *data) {
    Update one;
    Run run;
    if (!begin(&one, (MD5 *)self, data)) return NULL;
    if (one.view.len <= LOCKED_BYTES_MAX) {
        update(&one, &run, 1, NULL);
    } else {
        Py_BEGIN_ALLOW_THREADS;
        update(&one, &run, 1, NULL);
        Py_END_ALLOW_THREADS;
    }
    end(&one);
    Py_RETURN_NONE;
}

static PyObject *md5_digest(PyObject *self, PyObject *Py_UNUSED(none)) {
    if (((MD5 *)self)->is_busy) {
        PyErr_SetString(PyExc_ValueError, "an MD5 is asked for between its bytes");
        return NULL;
    }
    MD5 padded = *(MD5 *)self;
    const uint64_t bits = padded.length * 8;
    uint8_t padding[BLOCK_BYTES + LENGTH_BYTES] = {0x80};
    /* As far as the place of the length in the last block. */
    const size_t size = BLOCK_BYTES - (padded.length + LENGTH_BYTES) % BLOCK_BYTES;
    memcpy(padding + size, &bits, LENGTH_BYTES);
    const Run run = take(&padded, padding, size + LENGTH_BYTES);
    run_alone(run.state, run.data, run.blocks);
    return PyBytes_FromStringAndSize((const char *)padded.state, DIGEST_BYTES);
}

static PyMethodDef METHODS[] = {
    {"update", md5_update, METH_O, "Takes the next bytes."},
    {"digest", md5_digest, METH_NOARGS, "The 16 bytes of the sum so far."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject MD5_TYPE = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "liteio_s3._md5.MD5",
    .tp_basicsize = sizeof(MD5),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "A running MD5, which can take its bytes together with others.",
    .tp_new = md5_new,
    .tp_methods = METHODS,
};

static bool begin_pair(Update *update, PyObject *pair) {
    if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 || !PyObject_TypeCheck(PyTuple_GET_ITEM(pair, 0), &MD5_TYPE)) {
        PyErr_SetString(PyExc_TypeError, "an update is a tuple of an MD5 and its bytes");
        return false;
    }
    return begin(update, (MD5 *)PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1));
}

/* Nothing is hashed where one of the updates can not begin. */
static PyObject *update_all(PyObject *given, Kernel kernel) {
    PyObject *pairs = PySequence_Tuple(given);
    if (!pairs) return NULL;
    const size_t count = (size_t)PyTuple_GET_SIZE(pairs);
    Update *updates = PyMem_New(Update, count);
    Run *runs = PyMem_New(Run, count);
    size_t begun = 0;
    if (!updates || !runs) PyErr_NoMemory();
    while (!PyErr_Occurred() && begun < count && begin_pair(&updates[begun], PyTuple_GET_ITEM(pairs, begun))) begun++;
    if (!PyErr_Occurred()) {
        Py_BEGIN_ALLOW_THREADS;
        update(updates, runs, count, kernel);
        Py_END_ALLOW_THREADS;
    }
    while (begun) end(&updates[--begun]);
    PyMem_Free(runs);
    PyMem_Free(updates);
    Py_DECREF(pairs);
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

static PyObject *update_all_avx2(PyObject *Py_UNUSED(module), PyObject *pairs) { return update_all(pairs, run_avx2); }

static PyObject *update_all_avx512vl(PyObject *Py_UNUSED(module), PyObject *pairs) {
    return update_all(pairs, run_avx512vl);
}

static PyMethodDef FUNCTIONS[] = {
    {"update_all_avx2", update_all_avx2, METH_O, "Gives each MD5 its bytes; `updates` is a sequence of pairs."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef FUNCTIONS_AVX512VL[] = {
    {"update_all_avx512vl", update_all_avx512vl, METH_O, "The same, a third quicker."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "_md5", "MD5 of several streams at once.", -1, FUNCTIONS, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__md5(void) {
    if (!__builtin_cpu_supports("avx2")) {
        PyErr_SetString(PyExc_ImportError, "this processor has no AVX2");
        return NULL;
    }
    PyObject *module = PyModule_Create(&MODULE);
    if (!module) return NULL;
    if (PyModule_AddType(module, &MD5_TYPE) ||
        (__builtin_cpu_supports("avx512vl") && PyModule_AddFunctions(module, FUNCTIONS_AVX512VL))) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
