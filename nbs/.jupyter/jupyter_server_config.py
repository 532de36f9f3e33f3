"JupyterLab as `make lab` starts it: a notebook is not marked as changed by being opened."
import sys

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager


class Notebooks(AsyncLargeFileManager):
    """JupyterLab writes the kernel's name and version into a notebook that it opens, and then calls it changed.
    Committed notebooks leave them out, so that they are the same on every machine; here they are put in on reading."""

    async def get(self, *args, **kwargs):
        model = await super().get(*args, **kwargs)
        if model["type"] == "notebook" and model["content"]:
            about = model["content"]["metadata"]
            spec = KernelSpecManager().get_kernel_spec("python3")
            about["kernelspec"] = {"name": "python3", "display_name": spec.display_name, "language": "python"}
            about["language_info"] = {
                "name": "python",
                "version": sys.version.split()[0],
                "mimetype": "text/x-python",
                "codemirror_mode": {"name": "ipython", "version": sys.version_info.major},
                "pygments_lexer": "ipython3",
                "nbconvert_exporter": "python",
                "file_extension": ".py",
            }
        return model


c = get_config()  # noqa: F821, Jupyter provides it
c.ServerApp.contents_manager_class = Notebooks
