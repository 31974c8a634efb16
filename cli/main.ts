#!/usr/bin/env node
import { COMMANDS, isCommandName } from './commands.ts'
import { describeFailure, EXIT, renderFailure } from './failure.ts'

// Nothing heavy is imported here: each command loads what it needs, and `tunnel stdio` stands between ssh and its first byte.

/** Options that may also stand before the command's name, as in `tunnel --url U machines`. */
const LEADING = /^--(url|token|profile|json|verbose)(=|$)/

function splitLeading(argv: string[]): { leading: string[]; rest: string[] } {
  let end = 0
  while (end < argv.length && LEADING.test(argv[end]!)) {
    end += /^--(json|verbose)$/.test(argv[end]!) || argv[end]!.includes('=') ? 1 : 2
  }
  return { leading: argv.slice(0, end), rest: argv.slice(end) }
}

async function main(argv: string[]): Promise<number> {
  const { leading, rest } = splitLeading(argv)
  const [name, ...own] = rest
  const command = name !== undefined && isCommandName(name) ? name : undefined
  try {
    if (command === undefined) return await (await import('./overview.ts')).run(rest)
    const { run } = await COMMANDS[command].load()
    return await run([...leading, ...own])
  } catch (error) {
    if (isPipeBroken) return EXIT.brokenPipe
    const failure = describeFailure(command === undefined ? 'tunnel' : `tunnel ${command}`, error)
    if (command === 'ssh' || command === 'exec') failure.exitStatus = remoteStatus(failure.exitStatus)
    // What follows `--` or belongs to ssh is not ours to read.
    const ours = argv.slice(0, argv.indexOf('--') === -1 ? argv.length : argv.indexOf('--'))
    const style = { json: ours.includes('--json'), verbose: ours.includes('--verbose') }
    const text = renderFailure(failure, style)
    // Under ssh the terminal is raw, and its cursor anywhere.
    const isRawTerminal = command === 'stdio' && process.stderr.isTTY
    process.stderr.write(isRawTerminal ? `\r\n${text.replaceAll('\n', '\r\n')}` : text)
    return failure.exitStatus
  }
}

/** `exec` and `ssh` pass on the remote status, so all but a mistyped command line is 255, as with ssh. */
function remoteStatus(status: number): number {
  return status === EXIT.usage ? EXIT.usage : EXIT.remote
}

const argv = process.argv.slice(2)
// These two leave the descriptors to ssh, and to their own streams; `process.stdout` would make them non-blocking.
const isRaw = /^(ssh|stdio)$/.test(splitLeading(argv).rest[0] ?? '')
// These two hear of it as an error of what they copy, and tell the machine before they end.
const endsItself = /^(exec|request)$/.test(splitLeading(argv).rest[0] ?? '')
let isPipeBroken = false
if (!isRaw) {
  for (const output of [process.stdout, process.stderr]) {
    output.on('error', (error) => {
      if (!('code' in error && error.code === 'EPIPE')) throw error
      isPipeBroken = true
      if (!endsItself) process.exit(EXIT.brokenPipe)
    })
  }
}

const status = await main(argv)
// Only what was written is waited for: nothing that a command forgot to close keeps the person waiting.
if (isRaw || isPipeBroken) process.exit(status)
process.stdout.write('', () => process.stderr.write('', () => process.exit(status)))
