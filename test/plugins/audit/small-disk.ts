import { spawnSync } from 'node:child_process'
import { mkdtemp, rmdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Scope } from '../../support/scope.ts'

/** A file system of that size; undefined where none can be mounted. */
export async function smallDisk(scope: Scope, bytes: number): Promise<string | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'tunnel-disk-'))
  const options = ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', folder]
  const isMounted = spawnSync('mount', options).status === 0
  scope.after(async () => {
    // Lazily: what is open in it is closed later.
    if (isMounted) spawnSync('umount', ['-l', folder])
    await rmdir(folder)
  })
  return isMounted ? folder : undefined
}
