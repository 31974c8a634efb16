import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { Scope } from './scope.ts'

/** A folder of its own that goes with the scope. */
export async function tempFolder(scope: Scope, name = 'test'): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), `tunnel-${name}-`))
  scope.after(() => rm(path, { recursive: true, force: true, maxRetries: 3 }))
  return path
}

export async function fileSha256(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

/** The SHA-256 over the names and contents of all files of a folder. */
export async function treeSha256(folder: string): Promise<string> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const hash = createHash('sha256')
  for (const path of paths.sort()) hash.update(`${relative(folder, path)} ${await fileSha256(path)}\n`)
  return hash.digest('hex')
}
