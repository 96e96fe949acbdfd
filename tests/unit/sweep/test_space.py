"""What a sweep varies, and what it cannot vary."""

import pytest
from sweeps import sweep_of

from minivit.config import TrainConfig
from minivit.errors import ConfigError
from minivit.sweep import Vary


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("depth=1,2,4", {"name": "depth", "values": (1, 2, 4)}),
        ("num-heads=1,2", {"name": "num_heads", "values": (1, 2)}),
        ("norm=pre,post", {"name": "norm", "values": ("pre", "post")}),
        ("normalize=true,false", {"name": "normalize", "values": (True, False)}),
        ("lr=1e-4..1e-2:log", {"name": "lr", "low": 1e-4, "high": 1e-2, "log": True}),
        ("embed_dim=16..64", {"name": "embed_dim", "low": 16, "high": 64}),
    ],
)
def test_values_and_ranges_are_parsed_as_users_write_them(text: str, expected: dict[str, object]) -> None:
    vary = Vary.parse(text)
    assert vary == Vary(**expected)
    assert Vary.parse(f"{vary.name}={vary.text}") == vary
    assert Vary.model_validate(vary.model_dump(mode="json")) == vary


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth", "'depth' is not valid."),
        ("=1,2", "'=1,2' is not valid."),
        ("lr=1,2:log", "'lr=1,2:log' is not valid."),
        ("lr=1e-4..1e-2:lin", "is not valid."),
        ("color=1,2", "'color' is not a setting, so it cannot be varied. Choose among"),
        ("classes=cat,dog", "'classes' is the same in all trials, so it cannot be varied."),
        ("depth=1,99", "Layers (depth) is '99' layers; it should be less than or equal to 40."),
        ("depth=1.5..3", "Layers (depth) is 1.5 layers; it should be a valid integer"),
        ("depth=one,two", "Layers (depth) is 'one' layers; it should be a valid integer"),
        ("depth=1,2,1", "A value of depth is listed twice in 1, 2, 1."),
        ("norm=pre..post", "low is 'pre'; it should be a valid number"),
        ("norm=0..1", "norm cannot have a range. List its values, as in norm=post,pre."),
        ("lr=1e-2..1e-4", "The range of lr, 0.01..0.0001, needs a low end below its high end."),
        ("lr=1..20", "Learning rate (lr) is 20.0; it should be less than or equal to 10."),
        ("weight_decay=0..1:log", "The logarithmic range of weight_decay starts at 0."),
    ],
)
def test_invalid_values_and_ranges_raise_an_error(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Vary.parse(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("vary", "settings", "message"),
    [
        ([], {}, "A sweep varies at least one setting."),
        (["lr=0.1,0.2", "lr=0.3,0.4"], {}, "lr is specified twice. List all its values together."),
        (["lr=0.1..0.2"], {"sampler": "grid"}, "A grid needs values, and lr has a range, 0.1..0.2."),
        (["lr=0.1,0.2"], {"trials": 0}, "Trials (trials) is 0; it should be greater than or equal to 1."),
        (
            [f"seed={','.join(map(str, range(40)))}", f"epochs={','.join(map(str, range(1, 40)))}"],
            {"sampler": "grid"},
            "The grid has 1,560 combinations; at most 1,000 are allowed.",
        ),
    ],
)
def test_an_invalid_sweep_raises_an_error(
    small: TrainConfig, vary: list[str], settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        sweep_of(small, *vary, **settings)
    assert message in str(error.value)
