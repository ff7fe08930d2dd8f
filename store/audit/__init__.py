"""Record every change of the store and every refused authentication, in a chain of hashes.

`origin` says who acts, `record` what a row is and how it is hashed, `chain` finds what is wrong with rows,
`log` writes and reads them in the store, `refusals` takes those of a proxy.
"""
