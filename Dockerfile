# Billfold in a container: `docker build --tag billfold .`, see docs/deploying.md.
#
# Every library is a wheel with a known hash; nothing is compiled. Raise the version of Python here, and those of the
# libraries with `make lock`.
FROM python:3.13.16-slim-bookworm AS python

FROM python AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements-build.txt requirements-runtime.txt ./
# The environment has no pip: the image's pip installs into it. Headers, tests and figures for notebooks are unused.
RUN python -m venv --without-pip /opt/billfold \
    && pip install --require-hashes --no-deps --only-binary :all: --requirement requirements-build.txt \
    && pip --python /opt/billfold/bin/python install --require-hashes --no-deps --only-binary :all: \
        --requirement requirements-runtime.txt \
    && find /opt/billfold -type d -regex '.*/\(pyarrow/include\|pyarrow/tests\|pginstall[0-9]*/include\|plotly/graph_objs\|plotly/labextension\)' \
        -prune -exec rm -r {} +
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && pip --python /opt/billfold/bin/python install --no-deps --no-index wheels/*.whl \
    && pip --python /opt/billfold/bin/python check

FROM build AS build-try-out
COPY requirements-demo.txt ./
RUN pip --python /opt/billfold/bin/python install --require-hashes --no-deps --only-binary :all: \
        --requirement requirements-demo.txt

FROM python AS run
LABEL org.opencontainers.image.title="billfold" \
    org.opencontainers.image.description="Lands AWS billing exports in PostgreSQL, to the cent." \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 billfold \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/billfold --shell /usr/sbin/nologin billfold \
    && install --directory --owner=billfold --group=billfold --mode=0700 /var/lib/billfold /var/spool/billfold
COPY --from=build /opt/billfold /opt/billfold
ENV PATH=/opt/billfold/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BILLFOLD_HOME=/var/lib/billfold \
    BILLFOLD_SPOOL=/var/spool/billfold \
    BILLFOLD_LOG_FORMAT=json
# Without DATABASE_URL the database is on the first volume. One container at a time can use it: a second one is rejected.
# The root file system can be read-only: only these two and /tmp are written.
VOLUME ["/var/lib/billfold", "/var/spool/billfold"]
WORKDIR /var/lib/billfold
USER 10001:10001
EXPOSE 8080
# For `billfold serve`; run other commands with --no-healthcheck.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client, sys; asked = http.client.HTTPConnection('127.0.0.1', 8080, timeout=4); asked.request('GET', '/healthz'); sys.exit(asked.getresponse().status != 200)"]
ENTRYPOINT ["billfold"]
CMD ["--help"]

# The same with a local AWS and its data, for `make try-out`. It is not part of the deployed image.
FROM run AS try-out
COPY --from=build-try-out /opt/billfold /opt/billfold
COPY deploy/try_out.py /opt/billfold/try_out.py

# `docker build` builds the last stage.
FROM run
