"""The HEALTHCHECK of the images: asks the service's own health address. With `/livez` as argument it asks that instead of `/readyz`."""

import os
import sys
import urllib.request


def main(page: str) -> int:
    port = os.environ["PENSTOCK_HEALTH_ADDRESS"].rpartition(":")[2]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{page}", timeout=4):
            return 0
    except OSError as error:
        sys.stderr.write(f"{page}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "/readyz"))
