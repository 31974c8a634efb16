import { spawnSync } from 'node:child_process'
import { type Program, type ProgramOptions, spawnProgram } from '../support/process.ts'
import type { Scope } from '../support/scope.ts'
import { shellLine } from '../support/sshd.ts'

/** Why a test that needs a terminal is skipped: some sandboxes give none. */
export function requirePty(): string | undefined {
  const { status, stderr, error } = spawnSync('script', ['-qefc', 'true', '/dev/null'], { timeout: 10_000 })
  return status === 0 ? undefined : `no terminal can be had: ${error?.message ?? String(stderr)}`
}

/** Runs a command line on a terminal of its own, which script(1) gives it. */
export function onTerminal(
  scope: Scope,
  words: readonly string[],
  options: ProgramOptions,
  before = '',
): Program {
  // In the shell's place: one that waits for its child would die of the child's Ctrl-C.
  const line = `${before}exec ${shellLine([...words])}`
  return spawnProgram(scope, 'script', ['-qefc', line, '/dev/null'], options)
}
