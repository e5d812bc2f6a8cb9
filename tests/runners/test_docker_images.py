"""Which image a name means: pulled where the engine lacks it, pinned by a digest, or by a tag that others may move."""

from penstock.contracts.states import AttemptState
from tests.runners.docker_bench import DockerBench
from tests.servers.docker_image import shell_archive
from tests.servers.image_registry import image_registry


async def test_an_image_that_is_not_there_is_pulled_and_named_in_the_log(containers: DockerBench) -> None:
    async with image_registry() as registry:
        digest = registry.put("tool:1", shell_archive("of the tool"))
        name = f"{registry.address}/tool:1"

        log = await containers.bench.log(await containers.shell("cat /text", image=name))

    assert log.startswith(f"pulling the image {name}\n")
    assert ": Pull complete\n" in log
    assert log.endswith(f"image {name} is {digest}\nof the tool")


async def test_a_digest_means_the_same_image_wherever_its_tag_went(containers: DockerBench) -> None:
    async with image_registry() as registry:
        first = registry.put("tool:2", shell_archive("first"))
        registry.put("tool:2", shell_archive("second"))
        name = f"{registry.address}/tool@{first}"

        pulled = await containers.shell("cat /text", image=name)
        again = await containers.shell("cat /text", image=name)

    assert (await containers.bench.log(pulled)).endswith("first")
    assert await containers.bench.log(again) == "first"


async def test_a_tag_that_the_registry_does_not_have_fails_the_step(containers: DockerBench) -> None:
    async with image_registry() as registry:
        completed = await containers.shell("true", image=f"{registry.address}/tool:none")

    assert completed.outcome == AttemptState.FAILED
    assert completed.failure is not None
    assert "can't be pulled" in completed.failure.message
