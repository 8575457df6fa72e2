"""A merged folder as a user of transformers has it: one of their classes, with the pooling that it was tuned with."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, BertForSequenceClassification, PreTrainedModel, ResNetForImageClassification
from transformers.modeling_outputs import SequenceClassifierOutput


class PooledBert(BertForSequenceClassification):
    """BERT whose classifier reads pooled token states, as sentence encoders do; theirs reads the first token's only."""

    __module__ = BertForSequenceClassification.__module__  # by this optimum tells whose library a model is of

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> SequenceClassifierOutput:
        """Ids, mask and types (batch, length) to logits (batch, labels)."""
        states = self.bert(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).last_hidden_state
        kept = attention_mask.unsqueeze(-1)
        if self.config.pooling == "max":
            features = states.masked_fill(kept == 0, torch.finfo(states.dtype).min).amax(1)
        else:
            assert self.config.pooling == "mean", self.config.pooling
            features = (states * kept).sum(1) / kept.sum(1).clamp(min=1)
        return SequenceClassifierOutput(logits=self.classifier(features))


CLASSES: dict[str, type[PreTrainedModel]] = {
    "text-classification": PooledBert,
    "image-classification": ResNetForImageClassification,
}


def rebuilt(merged: Path) -> PreTrainedModel:
    """The torch model of a merged folder, float32 and in eval mode; every one of its tensors has its place."""
    facts: dict[str, Any] = json.loads((merged / "tunedeploy.json").read_text(encoding="utf-8"))
    config = AutoConfig.from_pretrained(merged, num_labels=len(facts["labels"]))
    config.pooling = facts.get("pooling")
    model = CLASSES[facts["task"]](config)
    places = model.base_model.load_state_dict(load_file(merged / "model.safetensors"), strict=False)
    assert not places.unexpected_keys, places.unexpected_keys
    assert all(name.startswith("pooler.") for name in places.missing_keys), places.missing_keys
    head = model.classifier[-1] if isinstance(model.classifier, torch.nn.Sequential) else model.classifier
    head.load_state_dict(load_file(merged / "head.safetensors"))
    return model.eval()
