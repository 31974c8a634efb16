import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { makeFolder } from '../../protocol/node/folders.ts'
import { refused } from '../contexts/client-file.ts'
import { unwritable, updateFile } from '../replace-file.ts'
import { isOurs } from './unit.ts'

export interface PlannedFile {
  path: string
  content: string
  mode: number
  /** One that is there already is left as it is. */
  keeps?: boolean
  /** A unit: another one than ours is not replaced. */
  isUnit?: boolean
}

/** What is to be written, and what became of each file. */
export type Outcome = 'written' | 'unchanged' | 'kept'

/** Nothing is written when a unit would be replaced that is not as we wrote it. @throws {TunnelError} CONFIG_INVALID */
export function checkPlan(files: readonly PlannedFile[]): void {
  for (const { path, isUnit = false } of files) {
    if (!isUnit || !existsSync(path)) continue
    if (!isOurs(readFileSync(path, 'utf8')))
      throw refused(
        `${path} was not written by \`tunnel install\`, or was changed since: it is left as it is`,
      )
  }
}

export async function carryOut(files: readonly PlannedFile[]): Promise<[path: string, Outcome][]> {
  const done: [string, Outcome][] = []
  for (const { path, content, mode, keeps = false } of files) {
    makeFolderOf(path)
    if (keeps && existsSync(path)) done.push([path, 'kept'])
    else done.push([path, (await updateFile(path, () => content, mode)) ? 'written' : 'unchanged'])
  }
  return done
}

/** One that all may look into, unlike those that a file makes by itself. */
function makeFolderOf(path: string): void {
  try {
    makeFolder(dirname(path), 0o755)
  } catch (error) {
    throw unwritable(path, error)
  }
}

/** The same files below another folder, as for an image. */
export function below(root: string | undefined, files: readonly PlannedFile[]): PlannedFile[] {
  return files.map((file) => ({ ...file, path: root === undefined ? file.path : join(root, file.path) }))
}
