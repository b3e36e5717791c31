# SPDX-License-Identifier: Apache-2.0
"""SAM 3 as a teacher, through transformers: `Sam3Model` finds concepts, `Sam3TrackerVideoModel` follows objects.

A checkpoint such as facebook/sam3 holds both, around one ViT that is run once for both pyramids.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from esam3_core.config_fit import TeacherConfig
from esam3_core.convert.tokenizer import build_clip_tokenizer
from esam3_core.distill.teacher import (
    ClipOutputs,
    Concepts,
    Levels,
    Prompted,
    Teacher,
    TeacherError,
    fingerprint,
    freeze,
    resized,
)
from esam3_core.nn.student import normalise
from esam3_core.nn.text import pad_mask
from esam3_core.nn.trunk import _import_timm

CONCEPT_LEVELS, TRACKER_LEVELS = ("p16", "p8", "p4"), ("t16", "t8", "t4")


class Sam3Teacher(Teacher):
    """SAM 3.

    Args:
        model: a `Sam3VideoModel`.
        precision: of its weights.
    """

    concept_levels, prompted_levels = CONCEPT_LEVELS, TRACKER_LEVELS

    def __init__(self, model: Any, precision: str = "float32") -> None:
        self.model = model
        vision = model.config.detector_config.vision_config
        self.size = int(vision.image_size)
        pyramid = int(vision.fpn_hidden_size)
        trunk = int(vision.backbone_config.hidden_size)
        self.channels = dict.fromkeys(CONCEPT_LEVELS + TRACKER_LEVELS, pyramid) | {"trunk": trunk}
        side = self.size // int(vision.backbone_config.patch_size)
        sides = (side, 2 * side, 4 * side)
        self.sides = dict(zip(CONCEPT_LEVELS + TRACKER_LEVELS, 2 * sides, strict=True)) | {"trunk": side}
        context = int(model.config.detector_config.text_config.max_position_embeddings)
        self.tokenizer = build_clip_tokenizer(context)
        self.key = fingerprint(model, self.size)
        freeze(model, precision)

    @classmethod
    def open(cls, config: TeacherConfig) -> Sam3Teacher:
        """A local folder with config.json and weights, or a name on the hub.

        Raises:
            TeacherError: it cannot be read, or is no SAM 3 with a tracker.
        """
        _import_timm()  # defines the operators without which transformers cannot import torchvision beside a CPU torch
        try:
            model = _load(config.path)
        except (OSError, KeyError, ValueError) as error:  # whatever transformers raises
            raise TeacherError(
                f"no SAM 3 with its tracker at {config.path}: give a folder with config.json and model.safetensors, or "
                f"a name on the hub that you may download ({error})"
            ) from error
        teacher = cls(model, config.precision)
        if config.size not in (0, teacher.size):
            raise TeacherError(f"this SAM 3 reads {teacher.size} pixels, not {config.size}: remove teacher.size")
        return teacher

    def to(self, device: torch.device) -> Sam3Teacher:
        self.model.to(device)
        return self

    @torch.no_grad()
    def features(self, frames: Tensor) -> Levels:
        vision = self.model.detector_model.vision_encoder
        pixels = normalise(resized(frames, self.size)).to(self.model.dtype)
        tokens = vision.backbone(pixels).last_hidden_state  # [B, N, C]
        patch = vision.config.backbone_config.patch_size
        side = self.size // patch
        trunk = tokens.reshape(len(tokens), side, side, -1).permute(0, 3, 1, 2)
        found: Levels = {"trunk": trunk}
        for names, neck in ((CONCEPT_LEVELS, vision.neck), (TRACKER_LEVELS, self.model.tracker_neck)):
            fine, middle, coarse = neck(trunk)[0][:3]
            found |= dict(zip(names, (coarse, middle, fine), strict=True))
        return found

    @torch.no_grad()
    def text(self, texts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        ids = torch.tensor([encoding.ids for encoding in self.tokenizer.encode_batch(texts)], device=self.model.device)
        pad = pad_mask(ids)
        detector = self.model.detector_model
        return ids, detector.get_text_features(ids, (~pad).long(), return_dict=True).pooler_output, pad

    def concepts(self, levels: Levels, frame: Tensor, texts: list[str], top: int) -> Concepts:
        from transformers.modeling_outputs import BaseModelOutputWithPooling
        from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

        detector = self.model.detector_model
        maps, places = self._pyramid(detector.vision_encoder.neck, levels, CONCEPT_LEVELS, frame)
        _, tokens, pad = self.text(texts)
        cls = cls_token(detector.geometry_encoder, maps[-1], places[-1])
        prompt = torch.cat([tokens, cls], 1)
        seen = torch.cat([~pad, pad.new_ones(len(pad), 1)], 1)
        # transformers drops the last map of a pyramid, the one at half the ViT's resolution.
        vision = Sam3VisionEncoderOutput(
            fpn_hidden_states=(*maps, maps[-1]), fpn_position_encoding=(*places, places[-1])
        )
        out = detector(
            vision_embeds=vision, text_embeds=BaseModelOutputWithPooling(pooler_output=prompt), attention_mask=seen
        )
        logits = out.pred_logits.float()
        best = logits.topk(min(top, logits.shape[1])).indices  # [C, k]
        corners = out.pred_boxes.gather(1, best[..., None].expand(-1, -1, 4)).float()
        boxes = torch.cat([(corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]], -1)
        size = out.pred_masks.shape[-2:]
        masks = out.pred_masks.gather(1, best[..., None, None].expand(-1, -1, *size)).float()
        presence = out.presence_logits.float().reshape(len(logits))
        return Concepts(boxes, logits.gather(1, best), presence, masks, out.semantic_seg[:, 0].float())

    def prompted(self, levels: Levels, frame: Tensor, points: Tensor, labels: Tensor) -> Prompted:
        # A padded point would be one more token to SAM's decoder: prompts of one length go together instead.
        real = labels >= 0
        lengths = real.sum(1)
        order, parts = [], []
        for length in lengths.unique().tolist():
            rows = torch.nonzero(lengths == length)[:, 0]
            shown = real[rows]
            alike = (points[rows][shown].reshape(len(rows), length, 2), labels[rows][shown].reshape(len(rows), length))
            parts.append(self._draw(levels, frame[rows], *alike))
            order.append(rows)
        back = torch.cat(order).argsort()
        return Prompted(
            torch.cat([part.masks for part in parts])[back],
            torch.cat([part.iou for part in parts])[back],
            torch.cat([part.objectness for part in parts])[back],
            torch.cat([part.pointers for part in parts])[back],
        )

    def _draw(self, levels: Levels, frame: Tensor, points: Tensor, labels: Tensor) -> Prompted:
        """Masks of prompts that have no padding."""
        tracker = self.model.tracker_model
        coarse, middle, fine = (levels[name][frame].to(self.model.dtype) for name in TRACKER_LEVELS)
        decoder = tracker.mask_decoder
        coarse = coarse + tracker.no_memory_embedding.reshape(1, -1, 1, 1)
        maps = [decoder.conv_s0(fine), decoder.conv_s1(middle), coarse]
        sparse, dense = tracker.prompt_encoder(
            input_points=(points * self.size).to(self.model.dtype)[:, None],  # [P, 1, K, 2]
            input_labels=labels[:, None].int(),
            input_boxes=None,
            input_masks=None,
        )
        masks, iou, tokens, objectness = decoder(
            image_embeddings=maps[2],
            image_positional_embeddings=tracker.get_image_wide_positional_embeddings().expand(len(frame), -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
            high_resolution_features=maps[:2],
        )
        visible = (objectness[:, 0] > 0).to(tokens.dtype)  # [P, 1]
        pointers = visible * tracker.object_pointer_proj(tokens[:, 0, 0]) + (1 - visible) * tracker.no_object_pointer
        return Prompted(masks[:, 0, 0].float(), iou[:, 0, 0].float(), objectness[:, 0, 0].float(), pointers.float())

    @torch.no_grad()
    def clip(self, frames: Tensor, points: Tensor, labels: Tensor) -> ClipOutputs:
        from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
            Sam3TrackerVideoInferenceSession,
        )

        device, count = self.model.device, len(points)
        session = Sam3TrackerVideoInferenceSession(
            torch.zeros(len(frames), 1), self.size, self.size,
            inference_device=device, inference_state_device=device, dtype=self.model.dtype,
        )  # fmt: skip
        for track in range(count):
            index = session.obj_id_to_idx(track)
            real = labels[track] >= 0
            where = points[track, real][None, None].to(self.model.dtype) * self.size
            inputs = {"point_coords": where, "point_labels": labels[track, real][None, None].int()}
            session.add_point_inputs(index, 0, inputs)
            session.obj_with_new_inputs.append(track)
        masks, objectness, pointers = [], [], []
        for frame in range(len(frames)):
            self._show(session, frame, frames[frame : frame + 1])
            out = self.model.tracker_model(session, frame_idx=frame)
            masks.append(out.pred_masks.reshape(count, *out.pred_masks.shape[-2:]).float())
            objectness.append(out.object_score_logits.reshape(count).float())
            found = [session.get_output(t, frame, "object_pointer", frame == 0) for t in range(count)]
            pointers.append(torch.stack([pointer.reshape(-1) for pointer in found]).float())
        return ClipOutputs(torch.stack(masks).clone(), torch.stack(objectness).clone(), torch.stack(pointers).clone())

    def _show(self, session: Any, frame: int, image: Tensor) -> None:
        """Give the tracker a frame's features, so that it needs no ViT of its own."""
        decoder = self.model.tracker_model.mask_decoder
        every = torch.zeros(1, dtype=torch.int64, device=self.model.device)
        maps, places = self._pyramid(self.model.tracker_neck, self.features(image), TRACKER_LEVELS, every)
        maps = [decoder.conv_s0(maps[0]), decoder.conv_s1(maps[1]), maps[2]]
        flat = {"vision_feats": maps, "vision_pos_embeds": places}
        session.cache.cache_vision_features(
            frame, {name: [x.flatten(2).permute(2, 0, 1) for x in values] for name, values in flat.items()}
        )

    def _pyramid(
        self, neck: Any, levels: Levels, names: tuple[str, ...], frame: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Maps, finest first, of the rows `frame`, and their tables of positions."""
        maps = [levels[name][frame].to(self.model.dtype) for name in reversed(names)]
        return maps, [neck.position_encoding(x.shape, x.device, x.dtype) for x in maps]


def _load(path: str) -> Any:
    from transformers import AutoConfig, Sam3VideoModel

    local = Path(path).exists()
    sizes = AutoConfig.from_pretrained(path, local_files_only=local)
    if sizes.model_type != "sam3_video":
        raise ValueError(f"this is a {sizes.model_type}, not a sam3_video")
    # transformers forgets the tracker's input size when it writes a configuration.
    sizes.tracker_config.image_size = sizes.detector_config.image_size
    return Sam3VideoModel.from_pretrained(path, config=sizes, local_files_only=local)


def cls_token(encoder: Any, image: Tensor, places: Tensor) -> Tensor:
    """The geometry encoder's CLS token [C, 1, d], which looks at the picture even where nobody gave a box.

    Official SAM 3 appends it to every prompt; transformers leaves it out where there is no box, and its masks for
    phrases then differ from the official ones.

    Args:
        image: coarsest map [C, d, h, w]; places: its positions, of the same shape.
    """
    token = encoder.cls_embed.weight.view(1, 1, -1).expand(len(image), -1, -1)
    token = encoder.prompt_layer_norm(encoder.final_proj(token))
    flat, where = image.flatten(2).transpose(1, 2), places.flatten(2).transpose(1, 2)
    for layer in encoder.layers:
        token = layer(prompt_feats=token, vision_feats=flat, vision_pos_encoding=where, prompt_mask=None)
    return encoder.output_layer_norm(token)
