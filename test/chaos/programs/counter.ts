import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { killTree } from '../../support/proc.ts'
import { Program } from '../../support/process.ts'
import { shellLine } from '../../support/sshd.ts'
import { type ChaosProgram, lastWords, optionsOf, type ProgramResult, wrapped } from './program.ts'

const FAR_COUNTER = fileURLToPath(new URL('./far-counter.mjs', import.meta.url))
const PADDING_BYTES = 100

/** Counts the lines `<name> 1 …`, `<name> 2 …`; the first that is missing, twice, or out of order is remembered. */
export class LineCount {
  count = 0
  fault: string | undefined
  readonly #name: string
  readonly #padding = 'x'.repeat(PADDING_BYTES)

  constructor(name: string) {
    this.#name = name
  }

  line(number: number): string {
    return `${number} ${this.#padding}`
  }

  take(line: string): void {
    const expected = this.line(this.count + 1)
    if (line === expected) this.count++
    else this.fault ??= `${this.#name}: after line ${this.count} came "${line.slice(0, 40)}"`
  }
}

/**
 * An interactive session that both sides count in, all the time: what is typed comes back as an echo and is kept by
 * the far end, which counts on its own as well. It ends when `until` does.
 */
export const counter: ChaosProgram = {
  name: 'ssh',
  needs: ['ssh'],
  run: (context) =>
    context.session(async (): Promise<ProgramResult> => {
      const typedFile = join(context.folder, 'typed')
      const far = shellLine([
        process.execPath,
        FAR_COUNTER,
        typedFile,
        String(context.gapMs),
        String(PADDING_BYTES),
      ])
      const [echo, own] = [new LineCount('echo'), new LineCount('own')]
      let claimed = -1
      let byteCount = 0
      const [command, args] = wrapped(context, 'ssh', [...optionsOf(context), 'home', far])
      const ssh = new Program(command, args, { env: context.env, stdin: 'pipe', onStdout: () => {} })
      const abort = () => killTree(ssh.pid)
      context.signal.addEventListener('abort', abort, { once: true })

      let ended = false
      void context.until.then(() => {
        ended = true
      })
      let typed = 0
      const typing = setInterval(() => {
        if (ended) {
          clearInterval(typing)
          ssh.write('over\n')
        } else if (ssh.child.stdin?.writableNeedDrain === false) {
          ssh.write(`${echo.line(++typed)}\n`)
        }
      }, context.gapMs)

      const lines = createInterface({ input: ssh.child.stdout! })
      lines.on('line', (line) => {
        byteCount += line.length + 1
        if (line.startsWith('echo ')) echo.take(line.slice(5))
        else if (line.startsWith('own ')) {
          const sentAt = line.lastIndexOf(' ')
          own.take(line.slice(4, sentAt))
          context.arrived(Number(line.slice(sentAt + 1)))
        } else if (line.startsWith('over ')) {
          claimed = Number(line.slice(5))
          ssh.end()
        } else own.fault ??= `a line that nobody wrote: "${line.slice(0, 40)}"`
      })
      const exit = await ssh.exit
      clearInterval(typing)
      context.signal.removeEventListener('abort', abort)

      const kept = new LineCount('typed')
      const text = await readFile(typedFile, 'utf8').catch(() => '')
      for (const line of text.split('\n').slice(0, -1)) kept.take(line)
      const fault =
        echo.fault ??
        own.fault ??
        kept.fault ??
        (kept.count === typed && echo.count === typed
          ? undefined
          : `typed ${typed}, kept ${kept.count}, echoed ${echo.count}`) ??
        (own.count === claimed ? undefined : `the far end counted to ${claimed}, ${own.count} lines came`)
      const result: ProgramResult = {
        byteCount: byteCount + text.length,
        checksumOk: fault === undefined,
        exitStatus: exit.code,
      }
      const detail = exit.code === 0 ? fault : lastWords(ssh.stderr) || fault
      if (detail !== undefined) result.detail = detail
      return result
    }),
}
