-- What one run of an erasure leaves, a later one tells, whoever took it meanwhile.

ALTER TABLE erasures ADD COLUMN IF NOT EXISTS `counts.left` Array(UInt64) COMMENT 'rows there that were written down and not erased yet, which the listener''s next proof counts in' AFTER `counts.rows`;
