/** What a copy needs to know of a file. */
export interface FileInfo {
  kind: 'file' | 'folder' | 'link' | 'other'
  /** In bytes. */
  size: number
  /** Permissions alone. */
  mode: number
  /** Whole seconds since 1970, which is as exact as SFTP is. */
  accessed: number
  modified: number
}

export interface Entry {
  /** Undefined for a name that is not UTF-8; `shown` is what can be shown of it. */
  name: string | undefined
  shown: string
  info: FileInfo
}

export interface Times {
  accessed: number
  modified: number
}

/** An open file that is copied from. */
export interface ReadEnd {
  /** All of `byteCount`, or less where the file has become shorter. */
  read(offset: number, byteCount: number): Promise<Buffer>
  /** What `read` gave is not needed any more. */
  release?(bytes: Buffer): void
  /** As it is now. */
  info(): Promise<FileInfo>
  close(): Promise<void>
}

/** An open file that is copied to. */
export interface WriteEnd {
  /** In any order; `bytes` are written whole. */
  write(offset: number, bytes: Buffer): Promise<void>
  truncate(size: number): Promise<void>
  close(): Promise<void>
}

/** The files of one side, this computer's or a machine's. Everything fails with a FileError, or what ended the way there. */
export interface Files {
  /** The sides differ in where a checksum can be had. */
  readonly isNear: boolean
  /** A path as a person names it: 'home:/srv/a'. */
  told(path: string): string
  join(folder: string, name: string): string
  baseName(path: string): string
  /** The folder that a path is in. */
  folderOf(path: string): string
  /** Undefined where there is nothing. Of what a link leads to. */
  info(path: string): Promise<FileInfo | undefined>
  /** Where a path that is there really is. */
  realPath(path: string): Promise<string>
  /** Of a link itself. */
  linkInfo(path: string): Promise<FileInfo | undefined>
  list(folder: string): Promise<Entry[]>
  /** Where there is a folder already that is not a link, it is that one. */
  makeFolder(path: string, mode: number): Promise<void>
  readLink(path: string): Promise<string>
  /** Takes the place of a link or file that is there. */
  makeLink(path: string, to: string): Promise<void>
  openRead(path: string): Promise<ReadEnd>
  /**
   * Makes it with `mode`, less the umask, where it is not there; what it holds stays.
   * @param isNew it must not be there: of several copies at once one makes it
   */
  openWrite(path: string, mode: number, isNew: boolean): Promise<WriteEnd>
  setMode(path: string, mode: number): Promise<void>
  setTimes(path: string, times: Times): Promise<void>
  replace(from: string, to: string): Promise<void>
  remove(path: string): Promise<void>
}

/** How much of a file is read and written at once, in bytes: what one SFTP packet carries at most. */
export const PIECE_BYTES = 131_072
/** The bits of a mode that are permissions; whose set-user-id bits are copied with -p alone. */
export const PERMISSIONS = 0o7777
export const PLAIN_PERMISSIONS = 0o777
