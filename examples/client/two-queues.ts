/**
 * A storage of one's own: every change of a queue goes into two stores, such as a disk and a second disk, and a queue is
 * read from the first. A change counts when both have it.
 */
import type { QueueStore } from '../../client/index.ts'

export function twoStores(first: QueueStore, second: QueueStore): QueueStore {
  return {
    entries: (prefix) => first.entries(prefix),
    async write(changes, isDurable) {
      await Promise.all([first.write(changes, isDurable), second.write(changes, isDurable)])
    },
    async close() {
      await Promise.all([first.close(), second.close()])
    },
  }
}
