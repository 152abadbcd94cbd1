"""A reward head on a Qwen2.5-VL: one learned token behind the question, and a linear map of what becomes of it.

The token is a vector of its own and no entry of the vocabulary, so tokenizer and embeddings stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from reflectionflow.models.vision_language import VisionLanguage


class RewardNetwork(torch.nn.Module):
    """The backbone, the reward token [width] and the bias-free head [1, width]."""

    def __init__(self, vl: VisionLanguage) -> None:
        super().__init__()
        self.model = vl.model
        width = vl.model.config.text_config.hidden_size
        scale = float(vl.model.get_input_embeddings().weight.detach().float().std())
        device = vl.device
        self.token = torch.nn.Parameter(torch.randn(width, device=device) * scale)
        self.head = torch.nn.Linear(width, 1, bias=False, device=device)

    def forward(self, given: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the reward of each question [n]; larger is better, without scale.

        Args:
            given: What `VisionLanguage.inputs` returns: questions padded on the left.
        """
        core = self.model.model
        positions, _ = core.get_rope_index(
            given["input_ids"], given["mm_token_type_ids"], given["image_grid_thw"],
            attention_mask=given["attention_mask"],
        )  # fmt: skip
        seen = core.visual(given["pixel_values"].to(core.visual.dtype), grid_thw=given["image_grid_thw"]).pooler_output
        words = core.get_input_embeddings()(given["input_ids"])
        pictured = (given["input_ids"] == self.model.config.image_token_id)[..., None]
        told = words.masked_scatter(pictured, seen.to(words.dtype))
        count = len(told)
        told = torch.cat([told, self.token.to(told.dtype).expand(count, 1, -1)], dim=1)
        attended = torch.cat([given["attention_mask"], given["attention_mask"].new_ones(count, 1)], dim=1)
        after = positions.amax(dim=(0, 2), keepdim=True).expand(3, -1, 1) + 1
        hidden = core.language_model(
            inputs_embeds=told, attention_mask=attended, position_ids=torch.cat([positions, after], dim=2),
            use_cache=False,
        ).last_hidden_state  # fmt: skip
        rewards: torch.Tensor = self.head(hidden[:, -1].float()).squeeze(-1)
        return rewards

    def own_weights(self) -> dict[str, torch.Tensor]:
        """Return what the head adds to its backbone."""
        return {"token": self.token.detach().cpu().float(), "head": self.head.weight.detach().cpu().float()}

    def load_own(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take over what `own_weights` returned.

        Raises:
            RuntimeError: if it is of a backbone of another width.
            KeyError: if something is missing.
        """
        with torch.no_grad():
            self.token.copy_(weights["token"])
            self.head.weight.copy_(weights["head"])
