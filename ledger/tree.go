package ledger

import (
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	// width is how many hashes a tile and how many entries a bundle hold (C2SP tlog-tiles).
	width = 256
	// tileHeight is the height of a tile: width is 2 to this power.
	tileHeight = 8
	// levels is how many levels of tiles there can be: 2^48 entries.
	levels = 6
)

// edge is the right edge of a tree: for each level of tiles the hashes of the tile that is not full yet. With size it
// is all that is needed to add entries and to tell the root.
type edge struct {
	size   int64
	hashes [levels][]tlog.Hash
}

// add adds the hash of an entry. full is called with every tile that it fills, from the lowest level up.
func (e *edge) add(leaf tlog.Hash, full func(level int, n int64, tile []byte) error) error {
	hash := leaf
	for level := range e.hashes {
		e.hashes[level] = append(e.hashes[level], hash)
		if len(e.hashes[level]) < width {
			break
		}
		n := e.size / width >> (tileHeight * level)
		if err := full(level, n, pack(e.hashes[level])); err != nil {
			return err
		}
		hash = rootOf(e.hashes[level])
		e.hashes[level] = e.hashes[level][:0:0] // readers may hold the old one
	}
	e.size++
	return nil
}

// tree is the tree's size and root.
func (e *edge) tree() tlog.Tree {
	var whole []tlog.Hash // roots of perfect subtrees, left to right
	for level := levels - 1; level >= 0; level-- {
		for rest := e.hashes[level]; len(rest) > 0; {
			n := 1 << (bits.Len(uint(len(rest))) - 1)
			whole, rest = append(whole, rootOf(rest[:n])), rest[n:]
		}
	}
	if len(whole) == 0 {
		root, _ := tlog.TreeHash(0, nil) // reads no hash
		return tlog.Tree{Hash: root}
	}
	root := whole[len(whole)-1]
	for i := len(whole) - 2; i >= 0; i-- {
		root = tlog.NodeHash(whole[i], root)
	}
	return tlog.Tree{N: e.size, Hash: root}
}

// rootOf is the root over 1, 2, 4 ... hashes.
func rootOf(hashes []tlog.Hash) tlog.Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	half := len(hashes) / 2
	return tlog.NodeHash(rootOf(hashes[:half]), rootOf(hashes[half:]))
}

// pack writes hashes as a tile.
func pack(hashes []tlog.Hash) []byte {
	out := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, h := range hashes {
		out = append(out, h[:]...)
	}
	return out
}

// unpack reads a tile.
func unpack(tile []byte) []tlog.Hash {
	out := make([]tlog.Hash, 0, len(tile)/tlog.HashSize)
	for ; len(tile) >= tlog.HashSize; tile = tile[tlog.HashSize:] {
		out = append(out, tlog.Hash(tile[:tlog.HashSize]))
	}
	return out
}

// tilePath is where a tile lies by C2SP tlog-tiles; level -1 is the bundles of entries. have is how many of its 256 places
// are filled, 256 for a whole tile.
func tilePath(level int, n int64, have int) string {
	name := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		name = fmt.Sprintf("x%03d/%s", n%1000, name)
	}
	kind := "entries"
	if level >= 0 {
		kind = fmt.Sprint(level)
	}
	if have < width {
		return fmt.Sprintf("tile/%s/%s.p/%d", kind, name, have)
	}
	return "tile/" + kind + "/" + name
}

// filled is how many places of tile n of a level are filled in a tree of size entries.
func filled(size int64, level int, n int64) int {
	if level > 0 {
		size >>= tileHeight * level
	}
	return int(min(width, max(0, size-n*width)))
}
