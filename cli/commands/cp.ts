import { collectInOneGo } from '../collector.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { withTunnel } from '../connect.ts'
import { Checksums } from '../copy/checksums.ts'
import { copy } from '../copy/copy.ts'
import { FarFiles } from '../copy/far-files.ts'
import { Lanes } from '../copy/lanes.ts'
import { nearFiles } from '../copy/near-files.ts'
import { type Places, placesOf } from '../copy/places.ts'
import type { Plan } from '../copy/plan.ts'
import { Report } from '../copy/report.ts'
import type { Definition } from '../definition.ts'
import { EXIT } from '../failure.ts'
import { untilStopped } from '../stop.ts'
import { waitOut } from '../wait-out.ts'

export const definition: Definition = {
  name: 'cp',
  usage: '[options] SOURCE… TARGET',
  does: [
    'Copies files between this computer and a machine, whose side is written MACHINE:path (a path begins at the',
    'home folder there, ~ included). Each file goes to NAME.tunnel-part, which takes the name when all of it has',
    'arrived and the checksums of both sides agree. A copy that was interrupted continues where it stopped, also',
    'when you run the same command again. On a terminal it shows rate and time left. A machine that another user',
    'shares is NAME+OWNER.tunnel, as with scp.',
  ].join(' '),
  examples: [
    'tunnel cp big.iso home:',
    'tunnel cp -r home:projects/site .',
    "tunnel cp -rp 'my photos' home:~/backup/",
  ],
  arguments: [{ name: '<path...>', does: 'sources, then the target', values: 'place' }],
  options: [
    { flags: '-r, --recursive', does: 'copy folders with all that is in them; links stay links' },
    { flags: '-p, --preserve', does: 'keep modes and times' },
    { flags: '--no-check', does: 'no checksum at the end' },
  ],
}

interface CopyFlags extends CommonOptions {
  recursive?: boolean
  preserve?: boolean
  check: boolean
}

/** How long a copy that is stopped has to leave part files in order, and how long to end altogether, in ms. */
const ORDER_MS = 2_500
const END_MS = 4_000
/** The same of one that is not connected yet, and has nothing to put in order. */
const BRIEF_MS = 300
/** How long sessions are tried to be had again where the proxy says nothing of its window, in ms. */
const PATIENCE_MS = 120_000

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const flags = made.opts<CopyFlags>()
  const places = placesOf(made.args)
  collectInOneGo()
  const abort = new AbortController()
  const report = new Report({ json: flags.json === true, abort })
  try {
    const work = execute(flags, places, abort.signal, report)
    const status = await untilStopped(work, abort, () => (report.hasBegun ? END_MS : BRIEF_MS))
    if (abort.signal.aborted) report.stopped()
    return status
  } finally {
    report.end()
  }
}

async function execute(
  flags: CopyFlags,
  { machine, direction, sources, target }: Places,
  signal: AbortSignal,
  report: Report,
): Promise<number> {
  const say = (line: string): void => report.say(`tunnel: ${line}`)
  return withTunnel(
    flags,
    async (tunnel) => {
      const lanes = new Lanes({
        open: () => tunnel.sftp(machine),
        patienceMs: tunnel.link?.peer?.resumeMs ?? PATIENCE_MS,
        isOver: () => tunnel.state === 'closed',
      })
      tunnel.on('link-lost', () => lanes.interrupted())
      let late: NodeJS.Timeout | undefined
      const onAbort = (): void => {
        late = setTimeout(() => lanes.close(), ORDER_MS)
      }
      signal.addEventListener('abort', onAbort)
      try {
        await waitOut(() => lanes.begin(), say)
        const far = new FarFiles(machine, lanes)
        const isUpload = direction === 'to machine'
        const checksums = new Checksums(async (line, stdin, given = signal) => {
          const { stdout } = await tunnel.exec(machine, line, { signal: given, ...(stdin && { stdin }) })
          return stdout.toString()
        })
        const request = {
          ...(isUpload ? { from: nearFiles, to: far } : { from: far, to: nearFiles }),
          sources: isUpload ? sources : await Promise.all(sources.map((path) => far.resolve(path))),
          target: isUpload ? await far.resolve(target) : target,
          typedTarget: target,
          intoFolder: sources.length > 1 || /(^|\/)\.{0,2}$/.test(target),
          recursive: flags.recursive === true,
          preserve: flags.preserve === true,
          checksums: flags.check ? checksums : undefined,
          signal,
        }
        report.begin(request, lanes)
        const { events } = report
        const planned = (plan: Plan): void => {
          events.planned(plan)
          lanes.expect(plan.bytes)
        }
        return report.result(await copy(request, { ...events, planned }))
      } catch (error) {
        throw report.fatal(error)
      } finally {
        clearTimeout(late)
        signal.removeEventListener('abort', onAbort)
        lanes.close()
      }
    },
    { say, notice: say, persistent: true },
  )
}
