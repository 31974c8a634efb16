import { FileError } from '../../client/index.ts'
import type { FileInfo, Files } from './files.ts'
import { PART_SUFFIX } from './part-file.ts'

/** Folders that are read at once. */
const MAX_READING = 16
/** What a plan may hold: it is in memory. */
const MAX_ITEMS = 1_000_000

export interface Item {
  source: string
  target: string
  info: FileInfo
}

/** What is to be copied, in the order in which it can be. */
export interface Plan {
  /** Outer ones first. */
  folders: Item[]
  files: Item[]
  links: Item[]
  /** What cannot be copied, each as an error. */
  failures: unknown[]
  /** Part files of earlier copies, which nobody wants. */
  skipped: string[]
  /** Of all files. */
  bytes: number
}

export interface PlanRequest {
  from: Files
  to: Files
  sources: readonly string[]
  target: string
  /** The same as a person typed it. */
  typedTarget: string
  /** The target has to be a folder: it was named with a slash, or there are several sources. */
  intoFolder: boolean
  recursive: boolean
  signal: AbortSignal
}

/** Looks at everything that is to be copied. @throws {FileError} where the target cannot be one */
export async function makePlan(request: PlanRequest): Promise<Plan> {
  const { from, to, sources, recursive } = request
  const plan: Plan = { folders: [], files: [], links: [], failures: [], skipped: [], bytes: 0 }
  const found = await to.info(request.target)
  if (request.intoFolder && found?.kind !== 'folder') throw noFolder(request, 'into', found)
  if (found === undefined) {
    const around = await to.info(to.folderOf(request.target))
    if (around?.kind !== 'folder') throw noFolder(request, 'to', around)
  }
  for (const source of sources) {
    const info = await from.info(source)
    const hop = from.isNear ? 'client' : 'target'
    const tried = `${from.told(source)} cannot be copied`
    if (info === undefined) plan.failures.push(new FileError(tried, 'missing', { hop }))
    else if (info.kind === 'other') plan.failures.push(notRegular(tried, hop))
    else if (info.kind === 'folder' && !recursive)
      plan.failures.push(
        new FileError(tried, 'other', { hop, detail: 'it is a folder, and -r was not given' }),
      )
    else {
      const item = { source, target: await targetOf(request, source, info, found), info }
      if (info.kind === 'folder') await addTree(plan, item, request)
      else addFile(plan, item)
    }
  }
  return plan
}

/** @param instead what is there in place of the folder */
function noFolder(
  { to, typedTarget }: PlanRequest,
  how: 'into' | 'to',
  instead: FileInfo | undefined,
): FileError {
  const folder = to.told(how === 'into' ? typedTarget : to.folderOf(typedTarget))
  return new FileError(`nothing can be copied ${how} ${to.told(typedTarget)}`, 'other', {
    hop: to.isNear ? 'client' : 'target',
    detail: instead === undefined ? `there is no folder ${folder}` : `${folder} is not a folder`,
  })
}

async function targetOf(
  { from, to, target }: PlanRequest,
  source: string,
  info: FileInfo,
  found: FileInfo | undefined,
): Promise<string> {
  if (found?.kind === 'folder') {
    const name = from.baseName(source)
    // `.` and `..` have no name there: their contents are meant, as with cp.
    return /^\.{0,2}$/.test(name) ? target : to.join(target, name)
  }
  // What a link leads to is replaced, and the link stays.
  return found !== undefined && info.kind === 'file' ? to.realPath(target) : target
}

function addFile(plan: Plan, item: Item): void {
  plan.files.push(item)
  plan.bytes += item.info.size
}

async function addTree(plan: Plan, root: Item, request: PlanRequest): Promise<void> {
  let level = [root]
  while (level.length > 0 && !request.signal.aborted) {
    const next: Item[] = []
    for (let at = 0; at < level.length; at += MAX_READING) {
      const some = level.slice(at, at + MAX_READING)
      await Promise.all(some.map((folder) => addFolder(plan, folder, next, request)))
    }
    level = next
  }
}

async function addFolder(plan: Plan, folder: Item, next: Item[], { from, to }: PlanRequest): Promise<void> {
  plan.folders.push(folder)
  const hop = from.isNear ? 'client' : 'target'
  let entries: Awaited<ReturnType<Files['list']>>
  try {
    entries = await from.list(folder.source)
  } catch (error) {
    if (!(error instanceof FileError)) throw error
    plan.failures.push(error)
    return
  }
  for (const { name, shown, info } of entries) {
    const source = from.join(folder.source, shown)
    const tried = `${from.told(source)} cannot be copied`
    if (name === undefined) {
      plan.failures.push(new FileError(tried, 'other', { hop, detail: 'its name is not UTF-8' }))
      continue
    }
    const item = { source, target: to.join(folder.target, name), info }
    if (info.kind === 'folder') next.push(item)
    else if (info.kind === 'link') plan.links.push(item)
    else if (info.kind === 'other') plan.failures.push(notRegular(tried, hop))
    else if (name.endsWith(PART_SUFFIX)) plan.skipped.push(source)
    else addFile(plan, item)
  }
  const { folders, files, links, failures, skipped } = plan
  const lists = [folders, files, links, failures, skipped, next]
  if (lists.reduce((sum, { length }) => sum + length, 0) > MAX_ITEMS)
    throw new FileError(`${from.told(folder.source)} cannot be copied`, 'other', {
      hop,
      detail: `there are more than ${MAX_ITEMS} files: copy the folders one by one`,
    })
}

function notRegular(tried: string, hop: 'client' | 'target'): FileError {
  return new FileError(tried, 'other', { hop, detail: 'it is not a file, folder or link' })
}
