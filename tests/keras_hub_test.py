"""Every rule in KerasHub's BERT, GPT-2, Llama and ViT, with padding, against the oracle."""

import keras
import numpy as np
import pytest

from tests.network_cases import (
    Case,
    check_first_step,
    check_later_step,
    check_oracle,
    make_learner,
    moved,
    rules,
    with_random_weights,
)
from tests.network_oracle import assert_updates, assign
from tests.samples import sample

pytest.importorskip("keras_hub")
from tests import keras_hub_backbones as hub

pytestmark = pytest.mark.usefixtures("double_precision")

CLASSES = 3


def pooled(name):
    """A classifier of what a backbone puts out at the first place, or on average."""
    backbone = hub.BACKBONES[name]()
    outputs = backbone.output
    if isinstance(outputs, dict):
        outputs = outputs["pooled_output"]
    elif len(outputs.shape) == 3:
        outputs = keras.ops.mean(outputs, axis=1)
    return keras.Model(backbone.input, keras.layers.Dense(CLASSES)(outputs))


def per_token(name):
    backbone = hub.BACKBONES[name]()
    outputs = backbone.output
    outputs = outputs["sequence_output"] if isinstance(outputs, dict) else outputs
    return keras.Model(backbone.input, keras.layers.Dense(CLASSES)(outputs))


def next_token(name):
    """A language model whose output matrix is the embedding's, or another where not tied."""
    backbone = hub.BACKBONES[name]()
    logits = backbone.token_embedding(backbone.output, reverse=True)
    return keras.Model(backbone.input, logits)


def classifier_case(name):
    x = hub.inputs_of(hub.BACKBONES[name]())
    y = np.arange(hub.BATCH) % CLASSES
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return Case(lambda: pooled(name), x, y, loss)


def tokens_case(make, name, classes):
    x = hub.inputs_of(hub.BACKBONES[name]())
    y = np.random.default_rng(1).integers(0, classes, x["token_ids"].shape)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return Case(lambda: make(name), x, y, loss, sample_weight=1.0 * x["padding_mask"])


CASES = {
    "bert": lambda: classifier_case("BertBackbone"),
    "bert_tokens": lambda: tokens_case(per_token, "BertBackbone", CLASSES),
    "gpt2": lambda: classifier_case("GPT2Backbone"),
    "gpt2_next_token": lambda: tokens_case(next_token, "GPT2Backbone", hub.VOCABULARY),
    "llama": lambda: classifier_case("LlamaBackbone"),
    "llama_next_token": lambda: tokens_case(next_token, "LlamaBackbone", hub.VOCABULARY),
    "llama3_next_token": lambda: tokens_case(next_token, "Llama3Backbone", hub.VOCABULARY),
    "vit": lambda: classifier_case("ViTBackbone"),
}


@rules
def test_padded_places_change_nothing(rule):
    case = CASES["bert_tokens"]()
    mask = case.x["padding_mask"]
    assert len(set(mask.sum(-1))) == hub.BATCH
    network = with_random_weights(case)
    learner = make_learner(case, rule, network)
    assign(
        network.trainable_variables,
        moved([v.numpy() for v in learner.initial_weights], np.random.default_rng(2)),
    )
    expected = learner.updates(*case.batch)
    case.x["token_ids"] = np.where(mask, case.x["token_ids"], 5)
    actual = learner.updates(*case.batch)
    assert_updates(learner.trainable_variables, actual, list(map(np.asarray, expected)))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_oracle_begins_with_the_gradient(name):
    check_oracle(CASES[name]())


@pytest.mark.parametrize("name", sample(CASES))
def test_backprop_is_the_gradient_and_the_align_rules_begin_with_it(name):
    check_first_step(CASES[name]())


@rules
@pytest.mark.parametrize("name", sample(CASES))
def test_rules_do_what_the_oracle_says(name, rule):
    check_later_step(CASES[name](), rule)
