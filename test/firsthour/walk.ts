import type { Program } from '../support/process.ts'
import type { Said, User } from './host.ts'
import { type Block, commandsOf } from './printed.ts'
import { type HostName, hostNamed, type Scene } from './scene.ts'

/** What a person does at a printed line besides typing it. */
export interface Rule {
  /** The lines that it is for. */
  line: RegExp
  /** What is typed instead, such as the code that was shown and not the one in the document. */
  typed?: (line: string) => string
  /** What is typed or pasted while it runs. */
  input?: () => string
  /** It keeps running, in a terminal of its own; the next line is typed when it says this. */
  until?: RegExp
  /** What it says is looked at. */
  said?: (said: Said) => void
  /** Something else is done, because this scene lacks what the line is about. */
  instead?: (scene: Scene, line: string) => Promise<void>
}

export interface WalkOptions {
  /** Who types on each host. @default alice, and root on the proxy's */
  user?: (host: HostName) => User
  rules?: readonly Rule[]
  /** Is told of each line before it is typed. */
  typing?: (host: HostName, line: string) => void
  timeoutMs?: number
}

const TIMEOUT_MS = 60_000
/** Lines that keep running in every document. */
const RUNNING: readonly Rule[] = [
  { line: /^tunnel (forward|socks) /, until: /listen|ready|->|→/i },
  { line: /^tunnel agent (?!enroll)/, until: /is on line/ },
  // It goes into the background with its outputs, which nobody would see the end of.
  { line: /^ssh -f /, typed: (line) => `${line} > /dev/null 2>&1` },
]

/** What blocks of a document say, done line by line. A line that fails ends the walk with what it said. */
export async function walk(
  scene: Scene,
  blocks: readonly Block[],
  {
    user = (host) => (host === 'proxy' ? 'root' : 'alice'),
    rules = [],
    typing,
    timeoutMs = TIMEOUT_MS,
  }: WalkOptions,
): Promise<Program[]> {
  const running: Program[] = []
  for (const block of blocks) {
    const place = hostNamed(block.place)
    const host = scene.hosts[place]
    if (block.path !== undefined) {
      await host.write(user(place), block.path, block.text)
      continue
    }
    const commands = commandsOf(block)
    for (const [index, printed] of commands.entries()) {
      typing?.(place, printed)
      const asRoot = printed.startsWith('sudo ')
      const plain = asRoot ? printed.slice('sudo '.length) : printed
      const rule = [...rules, ...RUNNING].find(({ line }) => line.test(plain))
      const swallows = rule?.until !== undefined || rule?.input !== undefined
      if (swallows && index < commands.length - 1)
        throw new Error(`${block.section}: "${printed}" would read what is pasted behind it`)
      if (rule?.instead !== undefined) {
        await rule.instead(scene, plain)
        continue
      }
      const who = asRoot ? 'root' : user(place)
      const line = rule?.typed?.(plain) ?? plain
      if (rule?.until !== undefined) {
        const program = host.start(who, line)
        running.push(program)
        await program.line(rule.until)
        continue
      }
      const signal = AbortSignal.timeout(timeoutMs)
      const said = await host.run(who, line, { signal, ...(rule?.input && { input: rule.input() }) })
      if (said.code !== 0)
        throw new Error(
          `${place}: ${line}: ${said.signal ?? `status ${said.code}`}\n${said.stdout}${said.stderr}`,
        )
      rule?.said?.(said)
    }
  }
  return running
}
