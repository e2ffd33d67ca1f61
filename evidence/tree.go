package evidence

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// node is the hash of a perfect subtree: size entries from an index on, which size divides.
type node struct {
	at, size uint64
	hash     tlog.Hash
}

// forest are perfect subtrees side by side, merged where two are the halves of one. Over all entries from 0 on it is the
// tree; over some of them in the middle it is all that a verifier must know of what it does not see.
type forest []node

// add adds the subtree that follows.
func (f *forest) add(n node) {
	list := append(*f, n)
	for len(list) > 1 {
		left, right := list[len(list)-2], list[len(list)-1]
		if left.size != right.size || left.at%(2*left.size) != 0 {
			break
		}
		list = append(list[:len(list)-2], node{left.at, 2 * left.size, tlog.NodeHash(left.hash, right.hash)})
	}
	*f = list
}

// end is the index after the last entry.
func (f forest) end() uint64 {
	if len(f) == 0 {
		return 0
	}
	last := f[len(f)-1]
	return last.at + last.size
}

// root is the root over all, which must begin at 0.
func (f forest) root() tlog.Hash {
	if len(f) == 0 {
		root, _ := tlog.TreeHash(0, nil) // reads no hash
		return root
	}
	root := f[len(f)-1].hash
	for i := len(f) - 2; i >= 0; i-- {
		root = tlog.NodeHash(f[i].hash, root)
	}
	return root
}

// line is a node in the file of the tree: an entry that the bundle holds, or a subtree of entries that it does not.
func (n node) line(held bool) string {
	if held {
		return fmt.Sprintf("entry %d %s\n", n.at, hex.EncodeToString(n.hash[:]))
	}
	return fmt.Sprintf("skip %d %d %s\n", n.at, n.size, hex.EncodeToString(n.hash[:]))
}

// errLine is what parseLine says of what line does not write.
var errLine = errors.New(`want "entry INDEX HASH" or "skip INDEX COUNT HASH", in the order of the entries`)

// parseLine reads a line, without its end, of the node that begins at an index.
func parseLine(line string, at uint64) (n node, held bool, err error) {
	words := strings.Split(line, " ")
	n, held = node{at: at, size: 1}, words[0] == "entry"
	switch {
	case held && len(words) == 3:
	case words[0] == "skip" && len(words) == 4:
		n.size, err = strconv.ParseUint(words[2], 10, 64)
	default:
		err = errLine
	}
	if err != nil {
		return n, held, errLine
	}
	raw, err := hex.DecodeString(words[len(words)-1])
	if err != nil || len(raw) != tlog.HashSize {
		return n, held, errLine
	}
	n.hash = tlog.Hash(raw)
	if n.line(held) != line+"\n" || bits.OnesCount64(n.size) != 1 || n.size > 1<<48 || at%n.size != 0 {
		return n, held, errLine
	}
	return n, held, nil
}
