import { setMaxListeners } from 'node:events'
import { FileError } from '../../client/index.ts'
import { ByteWindow } from './byte-window.ts'
import type { Checksums } from './checksums.ts'
import type { Files } from './files.ts'
import { type Item, makePlan, type Plan, type PlanRequest } from './plan.ts'
import { type Copied, type CopyContext, transfer, Unfinished } from './transfer.ts'

/** Files at once: a small one waits for round trips. */
const MAX_FILES = 24
/** A folder that is being filled can be written to. */
const OWN = 0o700

export interface CopyRequest extends PlanRequest {
  preserve: boolean
  checksums: Checksums | undefined
}

/** Is told how a copy gets on. */
export interface CopyEvents {
  planned(plan: Plan): void
  began(item: Item): void
  moved(byteCount: number): void
  checking(path: string): void
  restarted(target: string): void
  copied(item: Item, copied: Copied): void
  /** One thing could not be copied; others may be. */
  failed(error: unknown): void
}

export interface CopyResult {
  files: number
  bytes: number
  failures: number
  /** Part files from which the same command goes on. */
  kept: { part: string; bytes: number }[]
}

/** Copies everything that can be copied. @throws what ends all of it: the way to the machine is gone, a disk is full */
export async function copy(request: CopyRequest, events: CopyEvents): Promise<CopyResult> {
  const { from, to, preserve, signal, checksums } = request
  const result: CopyResult = { files: 0, bytes: 0, failures: 0, kept: [] }
  const fail = (error: unknown): void => {
    if (endsAll(error)) throw error
    result.failures++
    events.failed(error)
  }
  const plan = await makePlan(request)
  events.planned(plan)
  for (const error of plan.failures) fail(error)
  // What one failure ends, the others at work end as well.
  const abort = new AbortController()
  // Each file at work listens.
  setMaxListeners(MAX_FILES * 2, abort.signal)
  const onAbort = (): void => abort.abort(signal.reason)
  signal.addEventListener('abort', onAbort)
  if (signal.aborted) onAbort()
  const context: CopyContext = {
    ...{ from, to, preserve, checksums },
    window: new ByteWindow(),
    signal: abort.signal,
    onMoved: (byteCount) => events.moved(byteCount),
    onRestart: (target) => events.restarted(target),
    onChecking: (path) => events.checking(path),
  }
  const unusable: string[] = []
  const isBeneathUnusable = ({ target }: Item): boolean =>
    unusable.some((folder) => target.startsWith(to.join(folder, '-').slice(0, -1)))
  try {
    for (const folder of plan.folders) {
      if (abort.signal.aborted) break
      if (isBeneathUnusable(folder)) continue
      await to.makeFolder(folder.target, (folder.info.mode & 0o777) | OWN).catch((error: unknown) => {
        unusable.push(folder.target)
        fail(error)
      })
    }
    const files = plan.files.filter((item) => !isBeneathUnusable(item))
    await inParallel(files, abort, async (item) => {
      events.began(item)
      try {
        const copied = await transfer(context, item.source, item.target, item.info)
        result.files++
        result.bytes += copied.bytes
        events.copied(item, copied)
        if (copied.changed) fail(changed(from, item))
      } catch (error) {
        if (error instanceof Unfinished && error.kept !== undefined) result.kept.push(error.kept)
        if (!abort.signal.aborted) fail(error instanceof Unfinished ? error.cause : error)
      }
    })
    for (const link of plan.links) {
      if (abort.signal.aborted) break
      if (isBeneathUnusable(link)) continue
      await from
        .readLink(link.source)
        .then((leadsTo) => to.makeLink(link.target, leadsTo))
        .catch(fail)
    }
    if (preserve) await settle(to, plan, abort.signal, fail)
    return result
  } catch (error) {
    throw new Unfinished(error, result.kept[0])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** Modes and times of folders, inner ones first: what is made in one changes its time. */
async function settle(
  to: Files,
  { folders }: Plan,
  signal: AbortSignal,
  fail: (error: unknown) => void,
): Promise<void> {
  for (const { target, info } of [...folders].reverse()) {
    if (signal.aborted) return
    try {
      await to.setTimes(target, info)
      await to.setMode(target, info.mode)
    } catch (error) {
      fail(error)
    }
  }
}

async function inParallel(
  items: readonly Item[],
  abort: AbortController,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  let next = 0
  let failure: { error: unknown } | undefined
  const worker = async (): Promise<void> => {
    while (next < items.length && !abort.signal.aborted) {
      const item = items[next++]
      try {
        if (item !== undefined) await work(item)
      } catch (error) {
        failure ??= { error }
        abort.abort(error)
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(MAX_FILES, items.length) }, worker))
  if (failure !== undefined) throw failure.error
}

/** Of what is one file's alone the others know nothing. */
function endsAll(error: unknown): boolean {
  return !(error instanceof FileError) || error.problem === 'full'
}

function changed(from: Files, { source }: Item): FileError {
  return new FileError(`${from.told(source)} was copied`, 'other', {
    hop: from.isNear ? 'client' : 'target',
    detail: 'it changed meanwhile, and the copy may be neither of its two states',
  })
}
