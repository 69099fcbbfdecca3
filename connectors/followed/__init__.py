"""What following files takes: names, folders, contents. The policy, who is read when and what is lost, is in
`connectors/sources/file.py`.
"""
