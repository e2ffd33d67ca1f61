package evidence

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ringfence.dev/ringfence/ledger"
)

// run runs the program and holds it to an exit code.
func (w *world) run(code int, args ...string) string {
	w.t.Helper()
	cmd := exec.Command(w.program, args...)
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		w.t.Fatalf("ringfence %v: exit %d, want %d\n%s", args, got, code, out)
	}
	return string(out)
}

// lost: the machine is lost for good. What was backed up while Ringfence ran is put back elsewhere, verifies with every checkpoint that was
// published, and goes on without a fork; a backup that lacks what was published is refused.
func (w *world) lost() {
	w.t.Helper()
	recipient := strings.TrimSpace(w.run(0, "backup", "new-key", w.path("safe.key")))
	ctx, stop := context.WithCancel(w.t.Context())
	storm := make(chan struct{})
	go func() {
		defer close(storm)
		for i := 0; ctx.Err() == nil; i++ {
			w.refuse(w.t.Context(), fmt.Sprintf("flood-%03d", i))
			time.Sleep(20 * time.Millisecond)
		}
	}()
	w.await("records that come in during the backup", func() bool { return w.tells("native-refusal.v1", `"name":"flood-`) })
	w.run(0, "backup", "--evidence", w.path(w.books), "--recipient", recipient, "-o", w.path("early.age"))
	w.await("records that come in after it", func() bool { return w.tells("native-refusal.v1", `"name":"flood-010"`) })
	stop()
	<-storm
	if err := w.cmd.Process.Signal(syscall.SIGSTOP); err != nil { // nothing may be recorded and published after the last backup, or it is lost
		w.t.Fatal(err)
	}
	before := w.kept()
	signed, err := os.ReadFile(w.path(w.books + "/ledger/checkpoint"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("published", signed)
	w.run(0, "backup", "--evidence", w.path(w.books), "--recipient", recipient, "-o", w.path("late.age"))
	w.kill()
	if err := os.RemoveAll(w.path(w.books)); err != nil {
		w.t.Fatal(err)
	}

	w.books = "elsewhere"
	from := func(name string) []string {
		return []string{"restore", w.path(name), "--evidence", w.path(w.books), "--identity", w.path("safe.key"), "--checkpoint", w.path("published")}
	}
	if out := w.run(1, from("early.age")...); !strings.Contains(out, "nothing was restored") {
		w.t.Errorf("restored from what lacks records: %s", out)
	}
	if _, err := os.Stat(w.path(w.books)); err == nil {
		w.t.Error("there is a folder after a restore that was refused")
	}
	w.run(0, from("late.age")...)
	w.run(2, from("late.age")...) // it does not replace what it made
	w.start()
	w.refuse(w.t.Context(), "after")
	w.await("a refusal after the restore", func() bool { return w.tells("native-refusal.v1", `"name":"after"`) })
	w.run(2, from("late.age")...)
	w.onward(len(before))
}

// onward: the ledger holds what it held before and more, and every checkpoint that was ever published is of its history.
func (w *world) onward(before int) {
	w.t.Helper()
	kept := w.kept()
	if len(kept) <= before {
		w.t.Errorf("%d records, want more than the %d from before", len(kept), before)
	}
	next := map[string]uint64{}
	for _, r := range kept {
		if next[r.Producer]++; r.Seq != next[r.Producer] {
			w.t.Fatalf("record %s of %s has number %d, want %d: something is lost", r.ID, r.Producer, r.Seq, next[r.Producer])
		}
	}
	published, err := filepath.Glob(w.path("outside/*/*.checkpoint"))
	if err != nil || len(published) == 0 {
		w.t.Fatalf("%d checkpoints, %v", len(published), err)
	}
	from := ledger.Folder(w.path(w.books + "/ledger"))
	text, err := from(w.t.Context(), "keyring")
	if err != nil {
		w.t.Fatal(err)
	}
	ring, err := ledger.ParseKeyring(text)
	if err != nil {
		w.t.Fatal(err)
	}
	v, err := ledger.Verify(w.t.Context(), from, ring, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, path := range append(published, w.path("published")) {
		if signed, err := os.ReadFile(path); err != nil || v.Anchor(w.t.Context(), from, signed) != nil {
			w.t.Errorf("%s: %v %v, want a checkpoint of this history", path, err, v.Anchor(w.t.Context(), from, signed))
		}
	}
	w.t.Logf("%d records before the loss, %d after; %d published checkpoints verify", before, len(kept), len(published))
}
