"""TorchScript, pickled modules and folders of transformers, each a small model made here."""

import json
import sys
import types

import numpy as np
import pytest

from experiments.shared.errors import UserError
from experiments.vision.encoders import open_encoder
from experiments.vision.preprocessing import Preprocessing

torch = pytest.importorskip("torch")

SIDE = 16
FRAMES = np.random.default_rng(0).integers(0, 256, (3, 4, SIDE, SIDE, 3), dtype=np.uint8)
PUBLISHED = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "crop_size": SIDE}


class Pictures(torch.nn.Module):
    """Takes [B, 3, H, W]."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 6, 4, stride=4)

    def forward(self, x):
        return self.layer(x).mean(dim=(2, 3))


class Clips(torch.nn.Module):
    """Takes [B, 3, T, H, W]; returns tokens and class scores."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv3d(3, 6, (2, 4, 4), stride=(2, 4, 4))
        self.head = torch.nn.Linear(6, 5)
        self.dropout = torch.nn.Dropout(0.5)  # only while it is trained

    def forward(self, x):
        tokens = self.dropout(self.layer(x)).flatten(2).transpose(1, 2)
        return tokens, self.head(tokens.mean(dim=1))


class TimeFirst(Clips):
    """Takes [B, T, 3, H, W]."""

    def forward(self, x):
        return super().forward(x.transpose(1, 2))


class AnyOrder(torch.nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :4]


def in_torch(module, frames, layout, prepared=Preprocessing()):  # noqa: B008
    with torch.inference_mode():
        return module(torch.from_numpy(prepared(frames, layout)))


def test_torchscript_of_pictures(tmp_path):
    module = Pictures().eval()
    torch.jit.script(module).save(tmp_path / "model.pt")
    encoder = open_encoder(f"torchscript:{tmp_path / 'model.pt'}", size=SIDE)
    assert encoder.spec.num_features == 6 and encoder.spec.frames is None
    assert encoder.spec.identity["encoder"] == "torchscript:model.pt"
    assert encoder.spec.identity["layout"] == "BCHW"
    expected = [in_torch(module, FRAMES[:, [k]], "BCHW") for k in range(4)]
    np.testing.assert_allclose(encoder(FRAMES), np.mean(expected, axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "layout"), [(Clips, "BCTHW"), (TimeFirst, "BTCHW")])
def test_the_order_of_the_axes_is_found(tmp_path, kind, layout):
    module = kind().eval()
    shape = (1, 3, 4, SIDE, SIDE) if kind is Clips else (1, 4, 3, SIDE, SIDE)
    torch.jit.save(torch.jit.trace(module, torch.zeros(shape)), tmp_path / "model.pt")
    name = f"torchscript:{tmp_path / 'model.pt'}"
    encoder = open_encoder(name, size=SIDE, frames=4, logits=True)
    assert encoder.spec.identity["layout"] == layout
    assert encoder.spec.num_features == 11 and encoder.spec.frames == 4
    tokens, scores = in_torch(module, FRAMES, layout)
    expected = np.concatenate([tokens.mean(dim=1), scores], axis=1)
    np.testing.assert_allclose(encoder(FRAMES), expected, rtol=1e-4, atol=1e-5)
    assert open_encoder(name, size=SIDE, frames=4).spec.num_features == 6
    with pytest.raises(UserError, match="fails on pictures of 16 x 16; a model of clips wants"):
        open_encoder(name, size=SIDE)
    with pytest.raises(UserError, match="fails on clips of 1 frames"):
        open_encoder(name, size=SIDE, frames=1)


def test_an_order_that_is_not_clear_is_asked_for(tmp_path):
    torch.jit.script(AnyOrder()).save(tmp_path / "model.pt")
    name = f"torchscript:{tmp_path / 'model.pt'}"
    with pytest.raises(UserError, match=r'takes BCTHW and BTCHW: .*"layout" in .*preprocessor'):
        open_encoder(name, size=SIDE, frames=4)
    said = {**PUBLISHED, "layout": "BTCHW"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    encoder = open_encoder(name, frames=4)
    assert encoder.spec.size == (SIDE, SIDE)
    expected = (FRAMES[:, 0, 0, :4, 0] / 255 - 0.5) / 0.25
    np.testing.assert_allclose(encoder(FRAMES), expected, rtol=1e-5, atol=1e-5)


def test_a_file_without_logits_says_so(tmp_path):
    torch.jit.script(Pictures()).save(tmp_path / "model.pt")
    with pytest.raises(UserError, match="one output: no logits"):
        open_encoder(f"torchscript:{tmp_path / 'model.pt'}", size=SIDE, logits=True)


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"no model")
    with pytest.raises(UserError, match="cannot be loaded as TorchScript .RuntimeError"):
        open_encoder(f"torchscript:{tmp_path / 'model.pt'}")
    with pytest.raises(UserError, match="cannot be loaded .UnpicklingError"):
        open_encoder(f"torch:{tmp_path / 'model.pt'}", allow_pickle=True)


def test_pickled_modules_are_read_where_that_is_allowed(tmp_path):
    module = Clips()
    torch.save(module.train(), tmp_path / "model.pt")
    module.eval()
    name = f"torch:{tmp_path / 'model.pt'}"
    encoder = open_encoder(name, size=SIDE, frames=4, allow_pickle=True)
    tokens, _ = in_torch(module, FRAMES, "BCTHW")
    np.testing.assert_allclose(encoder(FRAMES), tokens.mean(dim=1), rtol=1e-4, atol=1e-5)
    torch.save(module.state_dict(), tmp_path / "model.pt")
    with pytest.raises(UserError, match="holds a .*Dict, not a module. Weights alone"):
        open_encoder(name, size=SIDE, frames=4, allow_pickle=True)


def save(model, folder, said=PUBLISHED):
    model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return f"transformers:{folder}"


def videomae(kind, **options):
    """VideoMAE's architecture, small, with weights drawn at random."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.VideoMAEConfig(
        image_size=SIDE,
        patch_size=8,
        num_frames=4,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        num_labels=5,
        decoder_num_hidden_layers=1,
        decoder_hidden_size=12,
        decoder_intermediate_size=24,
        **options,
    )
    model = getattr(transformers, kind)(config)
    for parameter in model.parameters():  # biases and norms too, which begin at 0 and 1
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("mean_pooling", [True, False])
def test_videomae_has_the_input_of_its_classifier_and_logits(tmp_path, mean_pooling):
    model = videomae("VideoMAEForVideoClassification", use_mean_pooling=mean_pooling)
    name = save(model, tmp_path)
    encoder = open_encoder(name, logits=True)
    spec = encoder.spec
    assert (spec.num_features, spec.frames, spec.size) == (24 + 5, 4, (SIDE, SIDE))
    prepared = Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3)
    values = torch.from_numpy(prepared(FRAMES, "BTCHW"))
    with torch.inference_mode():
        hidden = model.videomae(values).last_hidden_state
        embedding = model.fc_norm(hidden.mean(1)) if mean_pooling else hidden[:, 0]
        expected = np.concatenate([embedding, model(values).logits], axis=1)
    found = encoder(FRAMES)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(open_encoder(name)(FRAMES), found[:, :24], rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="fails on pictures .2, 8, 16, 16, 3."):
        open_encoder(name, frames=8)


@pytest.mark.parametrize("kind", ["VideoMAEModel", "VideoMAEForPreTraining"])
def test_a_model_without_a_head_has_its_mean_hidden_state(tmp_path, kind):
    model = videomae(kind)
    name = save(model, tmp_path)
    backbone = getattr(model, "videomae", model)
    prepared = Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3)
    with torch.inference_mode():
        hidden = backbone(torch.from_numpy(prepared(FRAMES, "BTCHW"))).last_hidden_state
    encoder = open_encoder(name)
    np.testing.assert_allclose(encoder(FRAMES), hidden.mean(1), rtol=1e-3, atol=1e-4)
    with pytest.raises(UserError, match=f"{kind} has no logits"):
        open_encoder(name, logits=True)


def test_a_model_of_pictures(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        image_size=SIDE, patch_size=8, hidden_size=24, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=48, num_labels=5,
    )  # fmt: skip
    name = save(transformers.ViTForImageClassification(config), tmp_path)
    encoder = open_encoder(name, logits=True)
    assert (encoder.spec.num_features, encoder.spec.frames) == (29, None)
    assert encoder(FRAMES).shape == (3, 29)
    with pytest.raises(UserError, match="encodes single pictures, not 4"):
        open_encoder(name, frames=4)


def test_weights_that_are_not_there_are_not_made_up(tmp_path):
    name = save(videomae("VideoMAEModel"), tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["num_hidden_layers"] = 3
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="of its weights are not there: .*layer"):
        open_encoder(name)


def test_code_in_a_folder_is_not_run(tmp_path):
    pytest.importorskip("transformers")
    settings = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be loaded .*ValueError"):
        open_encoder(f"transformers:{tmp_path}")
    assert not (tmp_path / "ran").exists()


def vjepa2(tmp_path):
    """V-JEPA 2's architecture, small, with weights drawn at random."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.VJEPA2Config(
        crop_size=SIDE, patch_size=8, frames_per_clip=4, tubelet_size=2, hidden_size=24,
        num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, pred_hidden_size=24,
        pred_num_hidden_layers=1, pred_num_attention_heads=2, pred_num_mask_tokens=2,
    )  # fmt: skip
    model = transformers.VJEPA2Model(config)
    model.eval().save_pretrained(tmp_path)
    published = {"crop_size": SIDE}  # and ImageNet's normalisation
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps(published))
    return model


def test_vjepa2_by_recipe_and_by_folder_are_the_same(tmp_path):
    model = vjepa2(tmp_path)
    recipe = open_encoder(
        "experiments.vision.recipes:vjepa2", weights=str(tmp_path), frames=4, size=SIDE
    )
    assert (recipe.spec.num_features, recipe.spec.frames) == (24, 4)
    assert len(recipe.spec.identity["weights"]) == 32
    values = torch.from_numpy(Preprocessing()(FRAMES, "BTCHW"))
    with torch.inference_mode():
        tokens = model(pixel_values_videos=values, skip_predictor=True).last_hidden_state
    found = recipe(FRAMES)
    np.testing.assert_allclose(found, tokens.mean(1), rtol=1e-3, atol=1e-4)
    folder = open_encoder(f"transformers:{tmp_path}")
    assert (folder.spec.frames, folder.spec.size) == (4, (SIDE, SIDE))
    np.testing.assert_allclose(folder(FRAMES), found, rtol=1e-4, atol=1e-5)


def test_the_recipe_of_videomae_v2(tmp_path, monkeypatch):
    """Against a module in the place of the official one, with its names and calls."""
    made = []

    class Official(torch.nn.Module):
        def __init__(self, img_size, all_frames, num_classes):
            super().__init__()
            made.append((img_size, all_frames, num_classes))
            self.patch = torch.nn.Conv3d(3, 24, (2, 8, 8), stride=(2, 8, 8))
            self.head = torch.nn.Linear(24, num_classes)

        def forward_features(self, x):
            return self.patch(x).mean(dim=(2, 3, 4))

    module = types.ModuleType("models.modeling_finetune")
    module.vit_giant_patch14_224 = Official
    monkeypatch.setitem(sys.modules, "models", types.ModuleType("models"))
    monkeypatch.setitem(sys.modules, "models.modeling_finetune", module)
    model = Official(SIDE, 4, 7)
    torch.save({"module": model.state_dict()}, tmp_path / "weights.pth")
    encoder = open_encoder(
        "experiments.vision.recipes:videomae_v2",
        weights=str(tmp_path / "weights.pth"), frames=4, size=SIDE, logits=True,
    )  # fmt: skip
    assert made[1] == (SIDE, 4, 7)
    assert encoder.spec.num_features == 24 + 7 and encoder.spec.logits
    with torch.inference_mode():
        embedding = model.forward_features(torch.from_numpy(Preprocessing()(FRAMES, "BCTHW")))
        expected = np.concatenate([embedding, model.head(embedding)], axis=1)
    np.testing.assert_allclose(encoder(FRAMES), expected, rtol=1e-4, atol=1e-5)
