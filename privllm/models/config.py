"""The knobs of the families' models, without the libraries that build them.

So all of params.yaml can be checked before anything heavy is imported (`parameters.sections`).
"""

from dataclasses import dataclass

from privllm.core.params import require

LOGITS_AT_ONCE = 1 << 26  # numbers, 256 MiB in fp32: more are made chunk by chunk (`chunked_loss`)


def inner_width(feedforward: int, width: int) -> int:
    """Return the inner width of a feed-forward part: `feedforward`, or 8/3 of `width` rounded up.

    Rounded to a multiple of 256, which every quantiser's blocks divide; of 64 where that would widen a small model by too much.
    """
    if feedforward:
        return feedforward
    natural = width * 8 // 3
    multiple = 256 if natural >= 512 else 64
    return -(-natural // multiple) * multiple


@dataclass
class CausalConfig:
    layers: int = 6  # blocks, 1-100
    width: int = 256  # of the residual stream; a multiple of 2 * heads
    heads: int = 4  # query heads per block
    kv_heads: int = 0  # key/value heads per block, a divisor of heads; 0 = as many as heads
    feedforward: int = 0  # inner width of the gated feed-forward part; 0 = 8/3 of width, rounded up to a multiple of 256 (of 64 below 512)
    dropout: float = 0.0  # of embeddings and both kinds of outputs while training, [0, 1)
    # one matrix for the input and the output embedding; with two, copied text is learnt sooner, but a text that is read many times worse
    tie_embeddings: bool = True
    rope_theta: float = 10000.0  # base of the rotary position frequencies, > 1

    def __post_init__(self) -> None:
        require(1 <= self.layers <= 100, "model.layers", "between 1 and 100")
        require(self.heads >= 1 and self.width >= 2, "model.heads", "at least 1, and model.width at least 2")
        require(self.width % (2 * self.heads) == 0, "model.width", "a multiple of twice model.heads")
        require(
            self.kv_heads >= 0 and self.heads % (self.kv_heads or self.heads) == 0,
            "model.kv_heads",
            "0 or a divisor of model.heads",
        )
        require(self.feedforward >= 0, "model.feedforward", "0 or more")
        require(0 <= self.dropout < 1, "model.dropout", "at least 0 and below 1")
        require(self.rope_theta > 1, "model.rope_theta", "above 1")


@dataclass
class MaskedConfig:
    layers: int = 4  # blocks, 1-100
    width: int = 256  # of the residual stream; a multiple of 2 * heads
    heads: int = 4  # per block
    feedforward: int = 0  # inner width of the gated feed-forward part; 0 = 8/3 of width, rounded up to a multiple of 256 (of 64 below 512)
    local_attention: int = 128  # tokens that a local block sees around each token, >= 2
    global_every: int = 3  # each such block, the first among them, sees the whole context, >= 1
    dropout: float = 0.0  # of embeddings, attention weights and feed-forward outputs while training, [0, 1)
    rope_theta: float = 10000.0  # base of the rotary position frequencies, > 1

    def __post_init__(self) -> None:
        require(1 <= self.layers <= 100, "model.layers", "between 1 and 100")
        require(self.heads >= 1 and self.width >= 2, "model.heads", "at least 1, and model.width at least 2")
        require(self.width % (2 * self.heads) == 0, "model.width", "a multiple of twice model.heads")
        require(self.feedforward >= 0, "model.feedforward", "0 or more")
        require(self.local_attention >= 2, "model.local_attention", "2 or more")
        require(self.global_every >= 1, "model.global_every", "1 or more")
        require(0 <= self.dropout < 1, "model.dropout", "at least 0 and below 1")
        require(self.rope_theta > 1, "model.rope_theta", "above 1")


@dataclass
class Seq2SeqConfig:
    encoder_layers: int = 4  # blocks, 1-100
    decoder_layers: int = 4  # blocks, 1-100
    width: int = 256  # of the residual stream; a multiple of heads
    heads: int = 4  # per block
    feedforward: int = 0  # inner width of the gated feed-forward part; 0 = 8/3 of width, rounded up to a multiple of 256 (of 64 below 512)
    dropout: float = 0.0  # of embeddings, attention weights and both kinds of outputs while training, [0, 1)
    position_buckets: int = 32  # how many relative distances are told apart, >= 4
    position_distance: int = 128  # tokens; all beyond are one, > position_buckets

    def __post_init__(self) -> None:
        require(1 <= self.encoder_layers <= 100, "model.encoder_layers", "between 1 and 100")
        require(1 <= self.decoder_layers <= 100, "model.decoder_layers", "between 1 and 100")
        require(self.heads >= 1 and self.width >= 1, "model.heads", "at least 1, and model.width at least 1")
        require(self.width % self.heads == 0, "model.width", "a multiple of model.heads")
        require(self.feedforward >= 0, "model.feedforward", "0 or more")
        require(0 <= self.dropout < 1, "model.dropout", "at least 0 and below 1")
        require(self.position_buckets >= 4, "model.position_buckets", "4 or more")
        require(
            self.position_distance > self.position_buckets, "model.position_distance", "above model.position_buckets"
        )


@dataclass
class CorruptionConfig:
    density: float = 0.15  # share of tokens cut out, (0, 0.9]
    mean_span: float = 3.0  # tokens in a span on average, >= 1; longer where a row would need more than 100 spans

    def __post_init__(self) -> None:
        require(0 < self.density <= 0.9, "corruption.density", "above 0 and at most 0.9")
        require(self.mean_span >= 1, "corruption.mean_span", "1 or more")
