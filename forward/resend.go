package forward

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/durable"
)

const (
	// maxAsideLine bounds a line of the file of what was put aside: a record of the largest size, and its formatted text.
	maxAsideLine = 16 << 20
	// resendTries is how often one message is tried before the sink is taken to be down.
	resendTries = 3
	// maxResendWait bounds a pause between two tries: somebody sits before it and waits.
	maxResendWait = time.Minute
)

// Resend says what to send again of what a sink could not take. No Follower of that sink may run meanwhile: a sink is called by
// one, and the file is replaced.
type Resend struct {
	// Name, Source, Sink, Format and Dir are those of the Follower. Messages are made anew of the ledger's records, so that a
	// sink which was set up wrongly gets them as it is set up now.
	Name   string
	Source Source
	Sink   Sink
	Format Format
	Dir    string
	// IDs are what to send: ids of records or of messages. Empty is all.
	IDs []string
	// DryRun sends nothing and leaves the file as it is.
	DryRun bool
	// Tell is told of each line that is chosen.
	Tell func(Resent)
	// Sleep waits; nil is the machine's clock.
	Sleep func(context.Context, time.Duration) error
}

// Resent is what became of one line.
type Resent struct {
	// ID is the message's, or the record's where it could not be formatted; Index the record's place in the ledger.
	ID    string
	Index uint64
	// Aside is when it was put aside, Before why.
	Aside, Before string
	// Err is why the sink still does not have it; nil where it was sent, or would be.
	Err error
}

// ResendResult counts lines.
type ResendResult struct {
	// Sent are taken by the sink now, and no longer in the file; with DryRun those that would be sent.
	Sent int
	// Refused are refused again, Unreadable no lines that can be read. Both stay in the file.
	Refused, Unreadable int
	// Left are those that stay for another time: not chosen, or not tried any more after the sink did not answer.
	Left int
}

// errSinkDown is wrapped where the sink does not answer; what comes after is not tried.
var errSinkDown = errors.New("the sink does not answer")

// Run sends and is what became of it. What the sink took leaves the file in one step at the end: a kill before it means that it
// is sent again, with the same ids. An error is one of files, of the ledger, of ctx, or says that the sink does not answer.
func (r Resend) Run(ctx context.Context) (ResendResult, error) {
	if !nameForm.MatchString(r.Name) || r.Source == nil || r.Sink == nil || r.Format == nil || r.Tell == nil {
		return ResendResult{}, fmt.Errorf("resend to sink %q: want a name, a Source, a Sink, a Format and who is told", finding.Value(r.Name))
	}
	if r.Sleep == nil {
		r.Sleep = sleep
	}
	path := filepath.Join(r.Dir, r.Name+".aside.jsonl")
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ResendResult{}, nil
	}
	if err != nil {
		return ResendResult{}, fmt.Errorf("resend to sink %s: %w", r.Name, err)
	}
	defer file.Close()
	kept, err := os.CreateTemp(r.Dir, "."+r.Name+".aside.*")
	if err != nil {
		return ResendResult{}, fmt.Errorf("resend to sink %s: %w", r.Name, err)
	}
	defer os.Remove(kept.Name())
	out := bufio.NewWriter(kept)
	result, failed, broken := r.lines(ctx, bufio.NewReaderSize(file, 64<<10), out)
	err = errors.Join(broken, out.Flush(), kept.Chmod(0o600), kept.Sync(), kept.Close())
	if err == nil && result.Sent > 0 && !r.DryRun {
		if result.Refused+result.Unreadable+result.Left == 0 {
			err = os.Remove(path)
		} else {
			err = os.Rename(kept.Name(), path)
		}
		err = errors.Join(err, durable.SyncFolder(r.Dir))
	}
	if err = errors.Join(failed, err); err != nil {
		err = fmt.Errorf("resend to sink %s: %w", r.Name, err)
	}
	return result, err
}

// lines goes through the file and writes what stays in it to kept, also after the sink failed. Where the file is broken, kept is not
// whole and must not replace it.
func (r Resend) lines(ctx context.Context, in *bufio.Reader, kept io.Writer) (result ResendResult, failed, broken error) {
	for {
		line, err := readLine(in)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return result, failed, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		stays := true
		var a aside
		switch {
		case json.Unmarshal(line, &a) != nil || a.ID == "":
			result.Unreadable++
		case failed != nil || !r.chosen(a.ID):
			result.Left++
		default:
			err := r.one(ctx, a)
			switch {
			case err == nil:
				result.Sent++
				stays = false
			case errors.Is(err, errSinkDown) || ctx.Err() != nil:
				failed = err
				result.Left++
			default:
				result.Refused++
			}
			r.Tell(Resent{ID: a.ID, Index: a.Index, Aside: a.Time, Before: a.Reason, Err: err})
		}
		if stays {
			if _, err := kept.Write(append(line, '\n')); err != nil {
				return result, failed, err
			}
		}
	}
}

// readLine is the next line without its end; a last one without an end counts too.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxAsideLine:
			return nil, fmt.Errorf("the file of what was put aside has a line of more than %d bytes", maxAsideLine)
		case errors.Is(err, bufio.ErrBufferFull):
		case err == nil || errors.Is(err, io.EOF) && len(line) > 0:
			return bytes.TrimSuffix(line, []byte("\n")), nil
		default:
			return nil, err
		}
	}
}

// chosen reports whether a message is to be sent: it or its record was named.
func (r Resend) chosen(id string) bool {
	return len(r.IDs) == 0 || slices.ContainsFunc(r.IDs, func(want string) bool { return isOf(id, want) })
}

// isOf reports whether a message's id is a record's, or that of one of its messages: the id, a dot and a number.
func isOf(message, record string) bool {
	rest, ok := strings.CutPrefix(message, record)
	return ok && (rest == "" || len(rest) > 1 && rest[0] == '.' && strings.Trim(rest[1:], "0123456789") == "")
}

// one sends what a line tells of.
func (r Resend) one(ctx context.Context, a aside) error {
	messages, err := r.messages(ctx, a)
	if err != nil || r.DryRun {
		return err
	}
	for _, m := range messages {
		if err := r.send(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// messages makes the messages of a line anew: the one of its id, or all of the record where there is none of that id.
func (r Resend) messages(ctx context.Context, a aside) ([]Message, error) {
	for e, err := range r.Source.Read(ctx, a.Index) {
		if err != nil {
			return nil, fmt.Errorf("%w: read the ledger at %d: %w", errSinkDown, a.Index, err)
		}
		if e.Index != a.Index || !isOf(a.ID, e.ID) {
			break
		}
		all, err := r.Format(e.Record)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(all, func(m Message) bool { return m.ID == a.ID }); i >= 0 {
			all = all[i : i+1]
		}
		limits := r.Sink.Limits()
		for _, m := range all {
			if size := len(m.Data) + limits.Overhead; size > limits.Bytes {
				return nil, fmt.Errorf("%d bytes; the sink takes %d", size, limits.Bytes)
			}
		}
		return all, nil
	}
	return nil, fmt.Errorf("record %d of the ledger is not %s; it was put aside of another ledger", a.Index, finding.Value(a.ID))
}

// send sends one message, and tries again where that may help.
func (r Resend) send(ctx context.Context, m Message) error {
	for try := 1; ; try++ {
		bounded, cancel := context.WithTimeout(ctx, maxSend)
		err := r.Sink.Send(bounded, []Message{m})
		cancel()
		if err == nil {
			return nil
		}
		fault := faultOf(err)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case fault.Refused:
			return err
		case try == resendTries:
			return fmt.Errorf("%w after %d tries: %w", errSinkDown, try, err)
		}
		if err := r.Sleep(ctx, min(max(fault.After, minBackoff<<try), maxResendWait)); err != nil {
			return err
		}
	}
}
