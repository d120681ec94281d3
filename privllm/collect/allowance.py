"""How many bytes a compressed file may unpack to, so that none fills the memory or takes for ever."""

MAX_RATIO = 300  # unpacked bytes for each byte of the archive; texts come to 10, logs to 100
FREE_BYTES = 64 << 20  # that any archive may unpack to, however small it is


class TooMuch(Exception):
    """An archive unpacks to more than is allowed."""
