"""diffusers' UNet2DModel with random weights: the same numbers in every block, there and back, and what is refused."""

import json

import pytest
import torch
from diffusers import UNet2DModel

import lamina
from interop_parts import assert_near, stirred
from lamina import UserError, interop

pytestmark = pytest.mark.interop

PLAIN = {
    "sample_size": 16, "in_channels": 1, "out_channels": 1, "block_out_channels": (16, 24), "layers_per_block": 1,
    "norm_num_groups": 8, "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2,
}  # fmt: skip
THREE = {
    "block_out_channels": (16, 24, 40), "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
}  # fmt: skip
CONFIGS = {
    "plain": {"add_attention": False},
    "attention in the middle": {},
    "attention at one level, classes": THREE | {"sample_size": 28, "num_class_embeds": 11},
    "as published": THREE | {
        "sample_size": 32, "in_channels": 3, "out_channels": 3, "layers_per_block": 2, "downsample_padding": 0,
        "freq_shift": 1, "flip_sin_to_cos": False, "norm_eps": 1e-6, "attention_head_dim": None, "dropout": 0.1,
    },
    "other ways up and down, more colours out": {
        "in_channels": 3, "out_channels": 6, "down_block_types": ("AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"), "attention_head_dim": 4, "time_embedding_dim": 20,
        "sample_size": (16, 8), "norm_num_groups": 4, "attn_norm_num_groups": 4, "act_fn": "swish",
    },
    "one level": {"block_out_channels": (16,), "down_block_types": ("AttnDownBlock2D",),
                  "up_block_types": ("UpBlock2D",), "norm_num_groups": 16},
}  # fmt: skip


def _peer(**keys):
    torch.manual_seed(0)
    return stirred(UNet2DModel(**PLAIN | keys))


def _inputs(peer):
    shape = peer.config.sample_size
    sides = shape if isinstance(shape, tuple | list) else (shape, shape)
    x = torch.randn(4, peer.config.in_channels, *sides)
    t = torch.tensor([0, 1, 500, 999])
    return x, t, torch.tensor([0, 3, 10, 10]) if peer.config.num_class_embeds else None


@pytest.mark.parametrize("keys", CONFIGS.values(), ids=CONFIGS)
@torch.no_grad()
def test_same_numbers_in_every_block_and_back(keys, tmp_path):
    peer = _peer(**keys)
    peer.save_pretrained(tmp_path / "theirs")
    model = lamina.load(tmp_path / "theirs")
    x, t, classes = _inputs(peer)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in peer.parameters())
    pairs = {}
    for i in range(len(peer.down_blocks)):
        pairs[f"down.{i}.blocks.0"] = f"down_blocks.{i}.resnets.0"
        pairs[f"up.{i}.blocks.1"] = f"up_blocks.{i}.resnets.1"
    if peer.config.add_attention:
        pairs["mid.attention.0"] = "mid_block.attentions.0"
    with lamina.taps(model, list(pairs)) as ours, lamina.taps(peer, list(pairs.values())) as theirs:
        y = model(x, t, classes)
        want = peer(x, t, classes).sample
    assert_near(y, want)
    for mine, other in pairs.items():
        assert_near(ours[mine].permute(0, 3, 1, 2), theirs[other])
    for moment in (0, 250, 999.0):
        assert_near(model(x, torch.full((4,), moment), classes), peer(x, moment, classes).sample)
    interop.export(model, tmp_path / "ours")
    again = UNet2DModel.from_pretrained(tmp_path / "ours")
    folders = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("ours", "theirs")]
    assert folders[0] == folders[1]
    assert torch.equal(again(x, t, classes).sample, want)
    for a, b in zip(peer.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    lamina.save(model, tmp_path / "saved")
    assert torch.equal(lamina.load(tmp_path / "saved").eval()(x, t, classes), y)


@pytest.mark.parametrize(
    "keys", [{}, {"n_classes": 10, "d_head": 8, "pad": "end", "n_blocks": 2, "attention_up": (0, 2)}]
)
@torch.no_grad()
def test_what_lamina_made_is_read_by_diffusers(keys, tmp_path):
    model = stirred(lamina.create("ddpm", size=16, channels=(16, 24, 32), d_in=3, **keys))
    interop.export(model, tmp_path / "made")
    peer = UNet2DModel.from_pretrained(tmp_path / "made")
    x, t = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 500, 999])
    classes = torch.tensor([0, 9, 10, 3]) if keys else None
    assert_near(model(x, t, classes), peer(x, t, classes).sample)
    again = lamina.load(tmp_path / "made")
    assert torch.equal(again(x, t, classes), model(x, t, classes))


@torch.no_grad()
def test_pickled_weights_and_the_names_of_older_releases(tmp_path):
    peer = _peer()
    peer.save_pretrained(tmp_path, safe_serialization=False)
    x, t, _ = _inputs(peer)
    want = peer(x, t).sample
    assert_near(lamina.load(tmp_path)(x, t), want)
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = torch.load(tmp_path / "diffusion_pytorch_model.bin", weights_only=True)
    for new, old in names.items():
        weights = {name.replace(f".{new}.", f".{old}."): tensor for name, tensor in weights.items()}
    assert "mid_block.attentions.0.proj_attn.bias" in weights
    torch.save(weights, tmp_path / "diffusion_pytorch_model.bin")
    assert_near(lamina.load(tmp_path)(x, t), want)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"_class_name": "UNet2DConditionModel"}, "_class_name='UNet2DConditionModel' is not built here"),
        ({"time_embedding_type": "fourier"}, "time_embedding_type='fourier' is not built here, only 'positional'"),
        ({"class_embed_type": "timestep"}, "class_embed_type='timestep' is not built here, only None"),
        ({"resnet_time_scale_shift": "scale_shift"}, "resnet_time_scale_shift='scale_shift' is not built here"),
        ({"down_block_types": ["DownBlock2D", "SkipDownBlock2D"]}, "down_block_types: 'SkipDownBlock2D' is not built"),
        ({"up_block_types": ["UpBlock2D"]}, "up_block_types has 1 levels, block_out_channels 2"),
        ({"downsample_padding": 2}, "downsample_padding=2 is not built here, only 1"),
        ({"mid_block_scale_factor": 2}, "mid_block_scale_factor=2 is not built here, only 1"),
        ({"act_fn": "gelu"}, "act_fn='gelu' is not built here, only 'silu'"),
        ({"attn_norm_num_groups": 2}, "attn_norm_num_groups=2 is not built here, only None"),
        ({"attention_head_dim": 7}, "d_head=7"),
        ({"sample_size": 15}, "size=15 is halved 1 times; give a multiple of 2"),
        ({"freq_scale": 2}, "unknown key 'freq_scale'; did you mean 'freq_shift'?"),
        ({"block_out_channels": [16, 32]}, "the weights do not fit its config.json"),
        ({"num_class_embeds": 3}, "holds no 'class_embedding.weight'"),
        ({"add_attention": False}, "nothing of ours takes 'mid_block.attentions.0"),
        ({"layers_per_block": "two"}, "n_blocks='two'"),
    ],
)
def test_another_config_is_one_clear_line(keys, line, tmp_path):
    _peer().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))
    with pytest.raises(UserError) as error:
        lamina.load(tmp_path)
    assert line in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_weights_and_options_are_refused(tmp_path):
    _peer().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="a UNet2DModel takes no options; leave out capacity="):
        lamina.load(tmp_path, capacity=3)
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"holds no diffusion_pytorch_model\.safetensors"):
        lamina.load(tmp_path)
