"""Lightning: learned parameters are logged while a network trains."""

import pytest
import torch
from torch import nn

from actune import Activation

lightning = pytest.importorskip("lightning.pytorch")
pytestmark = pytest.mark.filterwarnings("ignore")  # those of Lightning


class Net(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(3, 4), Activation("swish", scope="channel"), nn.Linear(4, 4), Activation("prelu"), nn.Linear(4, 1)
        )

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        return (self.net(batch[0]) - batch[0].sum(1, keepdim=True)).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.05)


def test_the_course_of_parameters_is_logged(tmp_path):
    from actune.integrations.lightning import ActivationParameters

    torch.manual_seed(0)
    seen = ActivationParameters(every=4)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(64, 3)), batch_size=8)
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, callbacks=[seen],
        default_root_dir=tmp_path,
    )  # fmt: skip
    net = Net()
    trainer.fit(net, data)
    assert [step for step, _ in seen.course] == [4, 8, 12, 16]
    last = seen.course[-1][1]
    assert set(last) == {"net.1.beta", "net.1.beta.min", "net.1.beta.max", "net.3.a"}
    assert last["net.1.beta"] == pytest.approx(net.net[1].values()["beta"].mean().item())
    assert last["net.1.beta.min"] < last["net.1.beta"] < last["net.1.beta.max"]
    assert seen.course[0][1]["net.3.a"] != last["net.3.a"]
    assert trainer.logged_metrics["activation/net.3.a"].item() == pytest.approx(last["net.3.a"])
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        ActivationParameters(every=0)
