#!/bin/sh
# Installs into $UV_PROJECT_ENVIRONMENT what uv.lock says, with $EXTRAS and without what only development needs.
#   install.sh dependencies   everything but Penstock
#   install.sh penstock       Penstock itself
# With wheels in deploy/docker/wheelhouse/ nothing is fetched: the versions are the lock's, the wheels are those.
set -eu

wheelhouse=deploy/docker/wheelhouse
extras=""
for extra in ${EXTRAS:-}; do
    extras="$extras --extra $extra"
done

has_wheels() {
    for wheel in "$wheelhouse"/*.whl; do
        [ -e "$wheel" ] && return 0
    done
    return 1
}

# $extras is several words.
# shellcheck disable=SC2086
if has_wheels; then
    export UV_OFFLINE=1 VIRTUAL_ENV="$UV_PROJECT_ENVIRONMENT"
    case "$1" in
        dependencies)
            uv venv --quiet "$VIRTUAL_ENV"
            uv export --quiet --frozen --no-dev --no-emit-project --no-hashes $extras --output-file locked.txt > /dev/null
            uv pip install --no-index --find-links "$wheelhouse" --requirements locked.txt
            ;;
        penstock) uv pip install --no-index --find-links "$wheelhouse" --no-deps penstock ;;
    esac
else
    case "$1" in
        dependencies) uv sync --frozen --no-dev --no-install-project $extras ;;
        penstock) uv sync --frozen --no-dev --no-editable $extras ;;
    esac
fi
