"""The local log on disk: frames in segment files, plain while they grow, compressed later. No policy here: see
`connectors/transports/segments.py`.
"""
