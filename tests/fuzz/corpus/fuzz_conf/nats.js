host: 127.0.0.1
port: -1
http: "127.0.0.1:-1"
leafnodes {
  listen: "127.0.0.1:-1"
   }
server_tags [
  id:ABCDEFG
   ]
authorization {
  users [
     {
      user: a
      permission {
        subscribe [
          "_INBOX.>"
          bar
           ]
         }
       }
     ]
   }
ports_file_dir: /tmp
