"""Which parameters decay."""

import torch
from torch import nn

from eat.training.optimizer import adamw
from tests.made.models import make_model


def test_biases_and_norms_do_not_decay_and_everything_is_there_once():
    shared = nn.Linear(4, 4)
    model = nn.ModuleDict({"embedding": nn.Embedding(5, 4), "a": shared, "b": shared, "norm": nn.LayerNorm(4)})
    decayed, spared = adamw(model, lr=0.1, weight_decay=0.5, betas=(0.9, 0.999), eps=1e-8).param_groups
    assert {id(p) for p in decayed["params"]} == {id(model["embedding"].weight), id(shared.weight)}
    assert {id(p) for p in spared["params"]} == {id(shared.bias), id(model["norm"].weight), id(model["norm"].bias)}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.5, 0.0)
    assert len(decayed["params"]) == 2


def test_frozen_parameters_are_left_out_and_the_step_is_fused():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    optimizer = adamw(model, lr=0.1, weight_decay=0.0, betas=(0.9, 0.999), eps=1e-8)
    assert [p.shape for group in optimizer.param_groups for p in group["params"]] == [(2, 2), (2,)]
    assert optimizer.defaults["fused"] is True
    model(torch.ones(1, 2)).sum().backward()
    before = model[1].weight.detach().clone()
    optimizer.step()
    assert not torch.equal(model[1].weight, before)


def test_layer_decay_lowers_the_rate_layer_by_layer_and_leaves_heads_alone():
    model = make_model(head_depths=[1])
    groups = adamw(model, lr=0.1, weight_decay=0.5, betas=(0.9, 0.999), eps=1e-8, layer_decay=0.5).param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    depth = model.num_layers
    for name, parameter in model.named_parameters():
        below = 0
        if "embeddings." in name:
            below = depth
        elif ".blocks." in name:
            below = depth - 1 - int(name.split(".blocks.")[1].partition(".")[0])
        assert rates[id(parameter)] == 0.1 * 0.5**below, name
    assert len(rates) == len(list(model.parameters()))


def test_a_module_may_have_a_learning_rate_of_its_own_without_decay():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(3, 3))
    model[1].learning_rate = 0.7
    *groups, scores = adamw(model, lr=0.1, weight_decay=0.5, betas=(0.9, 0.999), eps=1e-8).param_groups
    assert [len(group["params"]) for group in groups] == [1, 1]
    assert {id(p) for p in scores["params"]} == {id(p) for p in model[1].parameters()}
    assert (scores["lr"], scores["weight_decay"]) == (0.7, 0.0)
