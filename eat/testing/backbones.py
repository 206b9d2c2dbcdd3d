"""Check a backbone."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel

from eat.attention.full import FullAttention
from eat.backbones import BACKBONES, Backbone, build_backbone
from eat.backbones.convert import encoder_weights_from_hf, head_weights_from_hf, weights_to_hf
from eat.backbones.tiny import tiny_config
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.encoder import SegmentStart
from eat.models.inputs import Inputs, pack_inputs
from eat.testing.checked import CLOSE, EXACT, Checked, seeds
from eat.testing.models import answer, check_saving, draw_batch, without_holes
from eat.testing.subject import construct
from eat.testing.tiny import randomise, types_for

SIZES = ("vocab_size", "dim", "num_layers", "num_heads", "intermediate_size", "max_length")


def check_backbone(
    backbone: str | type[Backbone], config: PreTrainedConfig | None = None, *, trials: int = 20, seed: int = 0
) -> Checked:
    """Check that a backbone keeps what every backbone promises.

    These are: the shape goes to Hugging Face and back, and to plain values and back; so do all weights, under names
    that the parts have; with everything off the logits are Hugging Face's within 1e-5, and the hidden states with
    padding on either side and holes, so that positions and padding mean the same; the first layers alone are Hugging
    Face's; a missing weight and an impossible size are named; saved and loaded by name.

    Args:
        backbone: Its class, or a name that the family knows: the model type of Hugging Face's config.
        config: A small Hugging Face config of its model type, with room for 40 tokens and a vocabulary of 48 or more;
            default: one of BERT's proportions.
        trials: Random batches.
        seed: Of the first of them.

    Returns:
        What was checked.

    Raises:
        CheckFailedError: With what was checked, what was expected, what came, and the seed.
    """
    if isinstance(backbone, str):
        return _check(BACKBONES.checked("backbone.name", backbone), config, trials, seed)
    name = config.model_type if config is not None else backbone.config_class.model_type
    if name in BACKBONES:
        if BACKBONES[name] is not backbone:
            raise ValueError(f"backbone: expected a model type of its own, but {name!r} is {BACKBONES[name].__name__}")
        return _check(name, config, trials, seed)
    with BACKBONES.lent(name, backbone):
        return _check(name, config, trials, seed)


def _check(name: str, config: PreTrainedConfig | None, trials: int, seed: int) -> Checked:
    checked, family = Checked(f"check_backbone({name})"), BACKBONES[name]
    config = config or tiny_config(name)
    config.num_labels = 3
    checked.same(config.model_type, name, "its name is the model type of Hugging Face's config")
    shape = family.from_hf_config(config)
    checked.same(family.from_hf_config(shape.to_hf_config()), shape, "its shape goes to Hugging Face and back")
    values = {"name": name, **dataclasses.asdict(shape)}
    checked.same(build_backbone(values), shape, "its shape goes to plain values and back")
    _check_sizes(checked, shape)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        theirs = AutoModelForSequenceClassification.from_config(config).eval()
    randomise(theirs, seed)
    _check_weights(checked, shape, theirs)
    model = AdaptiveForSequenceClassification.from_backbone(theirs)
    double, theirs_double = AdaptiveForSequenceClassification.from_backbone(theirs).double(), theirs.double()
    for number in seeds(seed, trials):
        with checked.trial(number):
            _check_hidden_states(checked, double, theirs_double, number)
            ids, mask, types = without_holes(model, draw_batch(model, number))
            inputs = _for_theirs(model, ids, mask, types)
            with torch.no_grad():
                exact, single = theirs_double(**inputs).logits, theirs.float()(**inputs).logits
            theirs.double()
            checked.same(
                answer(double, (ids, mask, types)).logits, exact, "all off equals Hugging Face, float64", EXACT
            )
            checked.same(
                answer(model, (ids, mask, types)).logits, single, "all off equals Hugging Face, float32", CLOSE
            )
    back = double.to_hugging_face().state_dict()
    same = all(torch.equal(back[key], tensor) for key, tensor in theirs_double.state_dict().items())
    checked.expect(same, "to_hugging_face gives the weights back", "equal tensors", "others")
    if shape.num_layers > 1:
        _check_first_layers(checked, theirs, seed)
    check_saving(checked, double, "backbone")
    return checked


def _check_sizes(checked: Checked, shape: Backbone) -> None:
    for key in SIZES:
        for value in (0, "nonsense"):
            fact = f"backbone.{key}={value!r} is refused in one line that names it"
            try:
                construct(type(shape), {**dataclasses.asdict(shape), key: value})
            except ValueError as error:
                checked.expect(f"backbone.{key}" in str(error), fact, fact, str(error))
            except Exception as error:
                checked.fail(fact, "a ValueError", f"{type(error).__name__}: {error}")
            else:
                checked.fail(fact, "a ValueError", "no error")


def _check_weights(checked: Checked, shape: Backbone, model: PreTrainedModel) -> None:
    """Expect that all weights go to our names and back, that our parts have those names, and a missing one is named."""
    theirs = model.state_dict()
    encoder, head = encoder_weights_from_hf(shape, theirs), head_weights_from_hf(shape, theirs)
    back = weights_to_hf(shape, encoder, head)
    checked.same(sorted(back), sorted(theirs), "the names of weights go to ours and back")
    for name, tensor in theirs.items():
        checked.same(back[name], tensor, "weights go to ours and back")
    ours = {f"embeddings.{name}": tuple(t.shape) for name, t in shape.embeddings().state_dict().items()}
    ours |= {f"blocks.{name}": tuple(t.shape) for name, t in shape.blocks(FullAttention()).state_dict().items()}
    norm = shape.final_norm()
    ours |= {} if norm is None else {f"norm.{name}": tuple(t.shape) for name, t in norm.state_dict().items()}
    converted = {name: tuple(tensor.shape) for name, tensor in encoder.items()}
    checked.same(sorted(converted.items()), sorted(ours.items()), "embeddings and blocks have these weights")
    own = {name: tuple(tensor.shape) for name, tensor in shape.head(3, "cls").state_dict().items()}
    converted = {name: tuple(tensor.shape) for name, tensor in head.items()}
    checked.same(sorted(converted.items()), sorted(own.items()), "the head has these weights")
    words = shape.encoder_names["embeddings.words"]
    missing = next(name for name in theirs if name.endswith(f"{words}.weight"))
    fact = "a missing weight is named"
    try:
        encoder_weights_from_hf(shape, {name: tensor for name, tensor in theirs.items() if name != missing})
    except ValueError as error:
        checked.expect(str(words) in str(error), fact, missing, str(error))
    else:
        checked.fail(fact, "a ValueError", "no error")


def _for_theirs(
    model: AdaptiveForSequenceClassification, ids: Tensor, mask: Tensor, types: Tensor
) -> dict[str, Tensor]:
    own = types_for(model, types)
    return {"input_ids": ids, "attention_mask": mask} | ({} if own is None else {"token_type_ids": own})


def _check_hidden_states(
    checked: Checked, model: AdaptiveForSequenceClassification, theirs: PreTrainedModel, seed: int
) -> None:
    """Compare hidden states, which padding does not shift; Hugging Face's heads may read column 0, padding or not."""
    ids, mask, types = draw_batch(model, seed)
    inputs = Inputs(ids, mask, types_for(model, types), None)
    with torch.no_grad():
        state = pack_inputs(model.backbone, model.encoder.embeddings, inputs, protected_id=None)
        end = model.encoder.to_head(SegmentStart(state), (model.num_layers,))
        ours = model.encoder.read_by_heads(end.state).rows
        encoder = getattr(theirs, model.backbone.prefix)
        hidden = encoder(**_for_theirs(model, ids, mask, types)).last_hidden_state
    checked.same(ours, hidden[mask.bool()], "hidden states are Hugging Face's, wherever padding stands", EXACT)


def _check_first_layers(checked: Checked, theirs: PreTrainedModel, seed: int) -> None:
    model = AdaptiveForSequenceClassification.from_backbone(theirs, num_layers=1).double()
    cut = model.to_hugging_face()
    weights, all_weights = cut.state_dict(), theirs.double().state_dict()
    fact = "num_layers=1 keeps the first layer, the embeddings and the head"
    checked.expect(
        all(torch.equal(all_weights[name], t) for name, t in weights.items()), fact, "equal tensors", "others"
    )
    ids, mask, types = without_holes(model, draw_batch(model, seed))
    with torch.no_grad():
        expected = cut(**_for_theirs(model, ids, mask, types)).logits
    checked.same(answer(model, (ids, mask, types)).logits, expected, "the first layers alone equal Hugging Face", EXACT)
