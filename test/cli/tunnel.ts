import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { compiledModule } from '../support/compiled.ts'
import { type ProgramOptions, run, spawnProgram } from '../support/process.ts'
import type { Scope } from '../support/scope.ts'
import { ON_BUSY_COMPUTER, TUNNEL_CLI } from '../support/topology.ts'

/** The command line that runs the CLI, compiled as a user has it. */
export const TUNNEL = [process.execPath, TUNNEL_CLI]

/** An environment in which nothing of the person's own is found. */
export function isolated(stateDir: string, more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {}
  for (const [name, value] of Object.entries(process.env)) if (!name.startsWith('TUNNEL_')) env[name] = value
  // The test runner marks its children, and a program that finds the mark behaves as a test.
  delete env.NODE_TEST_CONTEXT
  // Set under `npm test` alone: the CLI tells a person there to type `npx tunnel`, and elsewhere `tunnel`.
  delete env.npm_lifecycle_event
  return {
    ...env,
    TUNNEL_STATE_DIR: stateDir,
    XDG_CONFIG_HOME: join(stateDir, 'config'),
    XDG_CACHE_HOME: join(stateDir, 'cache'),
    XDG_RUNTIME_DIR: stateDir,
    ...more,
  }
}

/** Runs the CLI to its end. */
export function tunnel(args: readonly string[], options: Parameters<typeof run>[2] = {}) {
  return run(TUNNEL[0]!, [...TUNNEL.slice(1), ...args], options)
}

/** Starts the CLI; it ends with `scope`. */
export function startTunnel(scope: Scope, args: readonly string[], options: ProgramOptions = {}) {
  const busy = args[0] === 'server' ? ON_BUSY_COMPUTER : []
  return spawnProgram(scope, TUNNEL[0]!, [...TUNNEL.slice(1), ...args, ...busy], options)
}

export interface Printed {
  code: number
  stdout: string
  stderr: string
}

/** Runs many command lines, none of which waits for anything, in one process and one after the other. */
export async function tunnelLines(lines: readonly string[][], env: NodeJS.ProcessEnv): Promise<Printed[]> {
  const dispatch = compiledModule('command/cli/dispatch.ts')
  const runner = fileURLToPath(new URL('./many-lines.mjs', import.meta.url))
  const input = JSON.stringify({ dispatch, lines })
  // Some commands switch this off when they start (cli/collector.ts); in the midst of a marking V8 may not survive that.
  const flags = ['--no-incremental-marking']
  const { code, stdout, stderr } = await run(process.execPath, [...flags, runner], { env, input })
  if (code !== 0) throw new Error(stderr)
  return JSON.parse(stdout)
}
