"""Where a name lives: pools, sets and drive order; how drives are named and divided into sets."""

from liteio_placement.endpoint_patterns import ENDPOINTS_MAX, Endpoint, expand, expand_endpoints, parse_endpoint
from liteio_placement.errors import LayoutRefused, PatternRefused, PlacementError, TopologyRefused
from liteio_placement.layout import SetLayout, arrange, choose_layout, group_by, possible_widths
from liteio_placement.pools import Epoch, Location, Pool, Topology, choose_pool
from liteio_placement.sets import drive_order, placement_name, set_index

__all__ = [
    "ENDPOINTS_MAX",
    "Endpoint",
    "Epoch",
    "LayoutRefused",
    "Location",
    "PatternRefused",
    "PlacementError",
    "Pool",
    "SetLayout",
    "Topology",
    "TopologyRefused",
    "arrange",
    "choose_layout",
    "choose_pool",
    "drive_order",
    "expand",
    "expand_endpoints",
    "group_by",
    "parse_endpoint",
    "placement_name",
    "possible_widths",
    "set_index",
]
