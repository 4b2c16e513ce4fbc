"""Files -> documents -> blocks -> chunks. No model in here.

`reading` finds the files and reads them through `loaders`, one module a family of formats; `blocks` cuts a text into
lines and sentences, `layout` measures them, and `chunks` puts them together to what gets a vector.
"""
