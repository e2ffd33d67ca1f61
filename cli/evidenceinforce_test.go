package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
)

// makeLedger is `ledger DIR FILE`: it makes a ledger in DIR of the records in FILE, one a line: "PRODUCER TIME KIND BODY".
func makeLedger() {
	if err := ledgerOf(os.Args[1], os.Args[2]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func ledgerOf(dir, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	key, err := ledger.NewKey(filepath.Join(dir+".key"), "ringfence.dev/ledger/test")
	if err != nil {
		return err
	}
	l, err := ledger.Open(ledger.Config{Dir: dir, Key: key})
	if err != nil {
		return err
	}
	defer l.Close()
	seq := map[string]uint64{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		part := strings.SplitN(lines.Text(), " ", 4)
		if len(part) != 4 {
			return fmt.Errorf("found %q; want PRODUCER TIME KIND BODY", lines.Text())
		}
		seq[part[0]]++
		r := record.Record{ID: fmt.Sprint(part[0], ":", seq[part[0]]), Cluster: "local", Producer: part[0], Seq: seq[part[0]], Kind: part[2],
			CatalogueDigest: "sha256:" + strings.Repeat("cd", 32), Body: json.RawMessage(part[3])}
		if err := r.Time.UnmarshalText([]byte(part[1])); err != nil {
			return err
		}
		if _, err := l.Append(context.Background(), r); err != nil {
			return err
		}
	}
	return nil
}
