/**
 * A token provider that outlives its program: the refresh token is kept in a file of its owner alone, and replaced as a
 * whole, so that a crash leaves the old one or the new one. `tunnel token --sub NAME --refresh` makes the first.
 */
import { open, readFile, rename } from 'node:fs/promises'
import { type RefreshState, type RefreshStore, refreshing } from '../../client/index.ts'

export function fileStore(path: string): RefreshStore {
  return {
    async load() {
      const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return undefined
        throw error
      })
      return text === undefined ? undefined : (JSON.parse(text) as RefreshState)
    },
    async save(state) {
      const next = `${path}.next`
      const file = await open(next, 'w', 0o600)
      try {
        await file.writeFile(JSON.stringify(state))
        await file.sync()
      } finally {
        await file.close()
      }
      await rename(next, path)
    },
  }
}

export function tokenOf(url: string, path: string, firstRefreshToken: string) {
  return refreshing({ url, refreshToken: firstRefreshToken, store: fileStore(path) })
}
