package witness

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"ringfence.dev/ringfence/ledger"
)

const (
	// maxAnswer bounds what a witness answers: some lines.
	maxAnswer = 16 << 10
	// sizeType is the content type of a size that a witness answers.
	sizeType = "text/x.tlog.size"
)

// Peer is a witness that speaks C2SP tlog-witness below a URL, for instance another Ringfence: it is sent each checkpoint with
// the proof that it continues the one before, and keeps it only then. from is the ledger, for the proofs.
func Peer(client *http.Client, url string, from ledger.Source) Place {
	p := &peer{client: client, url: strings.TrimSuffix(url, "/") + "/add-checkpoint", from: from}
	return Place{Name: "witness " + url, Publish: func(ctx context.Context, checkpoint []byte) error {
		if err := p.publish(ctx, checkpoint); err != nil {
			return fmt.Errorf("publish a checkpoint at %s: %w", url, err)
		}
		return nil
	}}
}

type peer struct {
	client *http.Client
	url    string
	from   ledger.Source

	mu   sync.Mutex // guards size
	size int64      // what the witness saw last, as far as is known
}

func (p *peer) publish(ctx context.Context, checkpoint []byte) error {
	_, tree, err := ledger.ParseCheckpoint(string(checkpoint))
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 2 { // the second time with the size that the witness told
		proof, err := ledger.Consistency(ctx, p.from, p.size, tree)
		if err != nil {
			return err
		}
		status, answer, err := p.send(ctx, p.size, proof, checkpoint)
		if err != nil {
			return err
		}
		there, sizeErr := strconv.ParseInt(strings.TrimSpace(answer), 10, 64)
		switch {
		case status == http.StatusOK:
			p.size = tree.N
			return nil
		case status == http.StatusUnprocessableEntity:
			return conflict(p.size, tree.N)
		case status != http.StatusConflict || sizeErr != nil:
			return fmt.Errorf("found status %d: %.200q; want 200", status, answer)
		case there > tree.N || there == p.size:
			return conflict(there, tree.N)
		}
		p.size = there
	}
	return fmt.Errorf("the witness changes its mind about the size; last it was %d", p.size)
}

// send makes one request.
func (p *peer) send(ctx context.Context, old int64, proof tlog.TreeProof, checkpoint []byte) (status int, answer string, err error) {
	var body bytes.Buffer
	fmt.Fprintf(&body, "old %d\n", old)
	for _, h := range proof {
		body.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	body.WriteString("\n")
	body.Write(checkpoint)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, &body)
	if err != nil {
		return 0, "", err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return response.StatusCode, string(text), err
}

// parseRequest is the body of add-checkpoint.
func parseRequest(body []byte) (old int64, proof tlog.TreeProof, checkpoint []byte, err error) {
	head, checkpoint, found := bytes.Cut(body, []byte("\n\n"))
	lines := bufio.NewScanner(bytes.NewReader(head))
	if !found || !lines.Scan() {
		return 0, nil, nil, fmt.Errorf("want the lines old <size>, proof, an empty one, and a checkpoint")
	}
	size, ok := strings.CutPrefix(lines.Text(), "old ")
	old, err = strconv.ParseInt(size, 10, 64)
	if !ok || err != nil || old < 0 || strconv.FormatInt(old, 10) != size {
		return 0, nil, nil, fmt.Errorf("found the line %.40q; want old <size>", lines.Text())
	}
	for lines.Scan() {
		h, err := base64.StdEncoding.DecodeString(lines.Text())
		if err != nil || len(h) != tlog.HashSize || len(proof) == 63 {
			return 0, nil, nil, fmt.Errorf("found the line %.60q; want at most 63 hashes in base64", lines.Text())
		}
		proof = append(proof, tlog.Hash(h))
	}
	return old, proof, checkpoint, lines.Err()
}
