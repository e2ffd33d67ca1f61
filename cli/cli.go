// Package cli is the command line: one file a command, each a cobra command around a plain function.
//
// It reads files, calls the packages that judge and hands what they found to package report; it judges and formats
// nothing itself. cmd/ringfence and the tests call Main. Standard output is data, standard error is prose.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/report"
)

// Env is all that a command knows of the process it runs in, beside files.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Now is the clock.
	Now func() time.Time
	// IsTerminal says whether Stdout is one. Only then is anything coloured.
	IsTerminal bool
	// Watched says whether Stderr is a terminal. Only then is progress shown.
	Watched bool
	// Plugin says that kubectl called the program; the help then shows what its user types.
	Plugin bool
	// Controls and Frameworks are the trees to read; nil means those that the build embeds.
	Controls, Frameworks fs.FS
}

// colour reports whether output may be coloured: on a terminal, unless the user set NO_COLOR (no-color.org).
func (e Env) colour() bool {
	return e.IsTerminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// note writes one line of prose.
func (e Env) note(format string, args ...any) {
	fmt.Fprintf(e.Stderr, "ringfence: "+format+"\n", args...)
}

// exitError ends the program with a code that is not 0. Without err everything has been said already.
type exitError struct {
	code int
	err  error
}

// Error is the text for the user; it is empty where nothing is left to say.
func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

// Unwrap is the cause.
func (e *exitError) Unwrap() error { return e.err }

// exit is the error for a code, nil for 0.
func exit(code int) error {
	if code == finding.ExitAllowed {
		return nil
	}
	return &exitError{code: code}
}

// usagef is bad usage: one line that says what was wrong and where to read on.
func usagef(command, format string, args ...any) error {
	return &exitError{finding.ExitUsage, fmt.Errorf(format+"; see: %s --help", append(args, command)...)}
}

// Main runs one command and returns the exit code of the process. An error that carries no code of its own is one of
// this machine or this build and exits 2: it must look neither like a pass nor like a refusal.
func Main(ctx context.Context, args []string, env Env) int {
	root := newRoot(env)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return finding.ExitAllowed
	}
	code := finding.ExitUsage
	if e := (*exitError)(nil); errors.As(err, &e) {
		code = e.code
	}
	if errors.Is(err, context.Canceled) {
		env.note("interrupted; nothing was decided")
		return code
	}
	for _, fault := range apart(err) {
		if text := report.Inert(fault.Error()); text != "" {
			env.note("%s", strings.TrimPrefix(text, "ringfence ")) // of a command's name, which note begins with
		}
	}
	return code
}

// apart are the faults that errors.Join made one error of, each for a line of its own; the error itself where it is not of that kind.
func apart(err error) []error {
	if e, ok := err.(*exitError); ok && e.err != nil {
		return apart(e.err)
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	all, text := joined.Unwrap(), ""
	for _, e := range all {
		text += "\n" + e.Error()
	}
	if text != "\n"+err.Error() { // of fmt.Errorf, whose words are more than its parts
		return []error{err}
	}
	var each []error
	for _, e := range all {
		each = append(each, apart(e)...)
	}
	return each
}
