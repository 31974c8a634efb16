import type { Fields } from './packets.ts'

/** Of the flags of statvfs@openssh.com (section 4.5 of OpenSSH's PROTOCOL). */
const READ_ONLY = 1

/** What is known of the file system that a path is on. */
export interface FileSystem {
  freeBytes: number
  isReadOnly: boolean
}

/** What an answer to statvfs@openssh.com says. @throws {TunnelError} FRAME_INVALID where it is cut short */
export function fileSystemIn(fields: Fields): FileSystem {
  fields.uint64()
  const blockBytes = fields.uint64()
  fields.uint64()
  fields.uint64()
  const freeBytes = blockBytes * fields.uint64()
  for (let inodes = 3; inodes > 0; inodes--) fields.uint64()
  // The id of the file system is no number.
  fields.uint32()
  fields.uint32()
  return { freeBytes, isReadOnly: (fields.uint64() & READ_ONLY) !== 0 }
}
