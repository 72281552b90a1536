// Package tap writes the Test Anything Protocol, version 13. It stands in for github.com/mndrix/tap-go, which the
// validation programs of opencontainers/runtime-tools import and which no Debian release has: the same functions, as far
// as those programs call them, written anew. fetch-build.sh puts it where the Go compiler looks for that import path.
//
// Rules: one point per line on standard output, numbered from 1; what belongs to a point follows it as an indented YAML
// block (JSON, which is YAML too, so that no line of a nested report can be taken for a point of this one); nothing is
// buffered, so that a program that dies has shown all it found.
package tap

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// T is one report: the number of points so far, whether its plan has been written, and what follows each number.
type T struct {
	points    *int
	planned   bool
	directive string
}

// New begins a report; nothing is written yet.
func New() *T { return &T{points: new(int), directive: "- "} }

// Todo is the same report for a point that is not expected to pass: judges do not count its failure.
func (t *T) Todo() *T { return &T{points: t.points, planned: t.planned, directive: "# TODO "} }

// Header writes the version line, and the plan if the number of points is known (not 0).
func (t *T) Header(points int) {
	fmt.Println("TAP version 13")
	if points > 0 {
		t.plan(points)
	}
}

// AutoPlan writes the plan behind all points, if Header has not.
func (t *T) AutoPlan() {
	if !t.planned {
		t.plan(*t.points)
	}
}

func (t *T) plan(points int) {
	t.planned = true
	fmt.Printf("1..%d\n", points)
}

// Ok writes one point.
func (t *T) Ok(passed bool, description string) {
	result := "ok"
	if !passed {
		result = "not ok"
	}
	// A `#` of the description would begin a directive.
	t.point(result, t.directive+strings.ReplaceAll(description, "#", "\\#"))
}

// Pass writes a point that passed.
func (t *T) Pass(description string) { t.Ok(true, description) }

// Fail writes a point that failed.
func (t *T) Fail(description string) { t.Ok(false, description) }

// Skip writes that many points which were not looked at.
func (t *T) Skip(points int, reason string) {
	for ; points > 0; points-- {
		t.point("ok", "# SKIP "+reason)
	}
}

func (t *T) point(result, rest string) {
	*t.points++
	fmt.Printf("%s %d %s\n", result, *t.points, strings.ReplaceAll(rest, "\n", " "))
}

// YAML writes any value as the block of the last point.
func (t *T) YAML(value interface{}) error {
	text, err := json.MarshalIndent(value, "  ", "  ")
	if err != nil {
		return fmt.Errorf("tap: cannot encode the diagnostics: %w", err)
	}
	_, err = fmt.Fprintf(os.Stdout, "  ---\n  %s\n  ...\n", text)
	return err
}

// Diagnostic writes a comment of any number of lines.
func (t *T) Diagnostic(text string) {
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		fmt.Println("# " + line)
	}
}

// Diagnosticf is Diagnostic with a format.
func (t *T) Diagnosticf(format string, values ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, values...))
}
