package render

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/metrics"
	"text/template"
	"time"

	"github.com/Masterminds/sprig/v3"

	"ringfence.dev/ringfence/manifest"
)

// ErrRunaway means that a rendering took more memory than it may, and cannot be stopped: the process must end soon.
var ErrRunaway = errors.New("a rendering cannot be stopped")

// What one rendering may take. Charts that people install render to less than 10 MiB.
const (
	// renderTime bounds one rendering; charts of 100 templates take a tenth of a second.
	renderTime = 30 * time.Second
	// renderMemory is by how many bytes the heap may grow while templates run: 256 MiB.
	renderMemory = 256 << 20
	// maxCount is the largest count that a function of templates takes, for numbers, characters and repetitions alike.
	maxCount = 1 << 20
	// look is how often the memory is looked at.
	look = 20 * time.Millisecond
)

// runaway is a fault after which nothing more can be rendered.
type runaway struct{ fault *manifest.Error }

// Unwrap is the fault with its place.
func (r runaway) Unwrap() error { return r.fault }

// Is reports whether target is ErrRunaway.
func (runaway) Is(target error) bool { return target == ErrRunaway }

// Error is the fault with its place.
func (r runaway) Error() string { return r.fault.Error() }

// bounded waits for a rendering as long as one may take, in time and memory. Templates end at the next call of a function
// in stoppable; those that call none cannot be interrupted, and end with the process.
func bounded[T any](ctx context.Context, work func(context.Context) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	limit, cancel := context.WithTimeout(ctx, renderTime)
	defer cancel()
	least := heap() // garbage of earlier work may go while this runs
	go func() {
		value, err := guarded(func() (T, error) { return work(limit) })
		done <- result{value, err}
	}()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	var none T
	for {
		select {
		case r := <-done:
			if limit.Err() != nil {
				return none, ended(ctx)
			}
			return r.value, r.err
		case <-ticker.C:
			now := heap()
			if least = min(least, now); now > least+renderMemory {
				return none, fmt.Errorf("%w: its templates take more than %d MiB; look for a loop, or a count that is too large", ErrRunaway, renderMemory>>20)
			}
		case <-limit.Done():
			return none, ended(ctx)
		}
	}
}

// ended is why a rendering ended early: whoever asked wanted no more, or it took too long.
func ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted: %w", ctx.Err())
	}
	return errSlow
}

// errSlow says that a rendering took too long.
var errSlow = fmt.Errorf("not rendered within %v; look for a loop in the templates", renderTime)

// heap is how many bytes objects take, garbage among them.
func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}

// stoppable are the functions of templates that make much of little, bounded, and some that loops use, each of which breaks
// off once ctx has ended: text/template makes an error of a panic.
func stoppable(ctx context.Context) template.FuncMap {
	funcs := template.FuncMap{}
	known := sprig.TxtFuncMap()
	for _, name := range []string{"repeat", "indent", "nindent", "randAlphaNum", "randAlpha", "randAscii", "randNumeric", "randBytes", "until", "untilStep", "seq",
		"add", "add1", "append", "concat", "default", "dict", "get", "list", "quote", "set", "sub", "ternary", "trunc"} {
		original := reflect.ValueOf(known[name])
		if original.Kind() != reflect.Func {
			continue // a later version of sprig; helm has what it has
		}
		numbers := counts(name)
		funcs[name] = reflect.MakeFunc(original.Type(), func(args []reflect.Value) []reflect.Value {
			if ctx.Err() != nil {
				panic(errSlow)
			}
			if numbers > 0 {
				checkCounts(name, args[:min(numbers, len(args))])
			}
			if original.Type().IsVariadic() {
				return original.CallSlice(args)
			}
			return original.Call(args)
		}).Interface()
	}
	return funcs
}

// counts is how many of a function's first arguments are counts.
func counts(name string) int {
	switch name {
	case "repeat", "indent", "nindent", "randAlphaNum", "randAlpha", "randAscii", "randNumeric", "randBytes", "until", "seq":
		return 1
	case "untilStep":
		return 2
	}
	return 0
}

// checkCounts panics where a number, or one of a list of them, is larger than a count may be.
func checkCounts(name string, args []reflect.Value) {
	for _, arg := range args {
		if arg.Kind() == reflect.Slice {
			for i := range arg.Len() {
				checkCounts(name, []reflect.Value{arg.Index(i)})
			}
		} else if arg.CanInt() && (arg.Int() > maxCount || arg.Int() < -maxCount) {
			panic(fmt.Errorf("%s %d: want a count of at most %d", name, arg.Int(), maxCount))
		}
	}
}
