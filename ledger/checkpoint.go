package ledger

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// MaxCheckpoint is the most bytes that a checkpoint may have: three short lines, and some dozen signatures.
const MaxCheckpoint = 16 << 10

// ErrCheckpoint is wrapped by every error about a checkpoint that is not one of the ledger.
var ErrCheckpoint = errors.New("this is no checkpoint of the ledger")

// formatCheckpoint is the text that is signed, as C2SP tlog-checkpoint wants it.
func formatCheckpoint(origin string, tree tlog.Tree) string {
	return fmt.Sprintf("%s\n%d\n%s\n", origin, tree.N, base64.StdEncoding.EncodeToString(tree.Hash[:]))
}

// ParseCheckpoint reads origin, size and root of a checkpoint and verifies no signature: it is for finding out whose keys to
// ask. Errors wrap ErrCheckpoint.
func ParseCheckpoint(text string) (origin string, tree tlog.Tree, err error) {
	wrong := func(what, found, want string) error {
		return fmt.Errorf("%w: %s is %.80q; want %s", ErrCheckpoint, what, found, want)
	}
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) < 4 || len(text) > MaxCheckpoint {
		return "", tree, fmt.Errorf("%w: found %d bytes; want the lines origin, size and root", ErrCheckpoint, len(text))
	}
	tree.N, err = strconv.ParseInt(lines[1], 10, 64)
	if err != nil || tree.N < 0 || strconv.FormatInt(tree.N, 10) != lines[1] || tree.N > 1<<48 {
		return "", tree, wrong("the size", lines[1], "a number")
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize || base64.StdEncoding.EncodeToString(root) != lines[2] {
		return "", tree, wrong("the root", lines[2], "32 bytes in base64")
	}
	tree.Hash = tlog.Hash(root)
	if lines[0] == "" {
		return "", tree, wrong("the origin", "", "the ledger's name")
	}
	return lines[0], tree, nil
}

// OpenCheckpoint reads a signed checkpoint and verifies that one of the keys signed it. Signatures of others, those of
// witnesses, are left alone. Errors wrap ErrCheckpoint.
func OpenCheckpoint(signed []byte, keys Keyring) (tlog.Tree, error) {
	if len(signed) > MaxCheckpoint {
		return tlog.Tree{}, fmt.Errorf("%w: found %d bytes; want at most %d", ErrCheckpoint, len(signed), MaxCheckpoint)
	}
	n, err := note.Open(signed, keys.verifiers())
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%w: none of the %d keys of %s signed it as it stands: %w", ErrCheckpoint, len(keys), keys.Origin(), err)
	}
	origin, tree, err := ParseCheckpoint(n.Text)
	if err != nil {
		return tlog.Tree{}, err
	}
	if origin != keys.Origin() {
		return tlog.Tree{}, fmt.Errorf("%w: the origin is %.80q; want %s", ErrCheckpoint, origin, keys.Origin())
	}
	return tree, nil
}

// signCheckpoint writes and signs the checkpoint of a tree.
func signCheckpoint(key Key, tree tlog.Tree) ([]byte, error) {
	signed, err := note.Sign(&note.Note{Text: formatCheckpoint(key.Name(), tree)}, key)
	if err != nil {
		return nil, fmt.Errorf("sign the checkpoint of %d entries: %w", tree.N, err)
	}
	return signed, nil
}
