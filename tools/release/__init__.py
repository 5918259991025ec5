"""What `make release` runs: build the packages, check them, install them and run them. See docs/releasing.md.

- `versions` reads what the repository says about itself.
- `archives` builds wheel and sdist and checks what is in them.
- `installs` installs them with pip and uv and runs the demo.
- `process` starts a program.
"""
