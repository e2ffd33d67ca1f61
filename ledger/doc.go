// Package ledger keeps records for ever, in the order in which they came, so that whoever changes, drops or adds one later
// is found out: an append-only log in a folder, with a Merkle tree over its entries and a signed checkpoint over the tree.
//
// Its files are C2SP tlog-tiles and C2SP checkpoints, its entries in-toto Statements in canonical JSON, so an outsider
// verifies it without this code. An Append that returned is on the disk, below a signed checkpoint. It reads records and
// judges none, answers no questions about them (that is the store's business) and sends nothing anywhere: package
// ledger/witness publishes checkpoints. Package server writes it; the command line reads and verifies it.
package ledger
