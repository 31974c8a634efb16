const REASONS: Readonly<Record<string, string>> = {
  EROFS: 'the disk is read-only',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  ENOSPC: 'the disk is full',
  EDQUOT: 'your share of the disk is full',
  ENOENT: 'there is no such file or folder',
  EISDIR: 'it is a folder',
}

/** Why the system refuses something with a file: 'the disk is read-only, EROFS'. What has no code is told as it is. */
export function fileReason(cause: unknown): string {
  const { message, code } = cause as NodeJS.ErrnoException
  if (code === undefined) return message
  return REASONS[code] === undefined ? code : `${REASONS[code]}, ${code}`
}
